"""Finds and caches what is inside a compressed kernel: entry point, segments, notes, symbols.

Unpacking costs 0.1 to 1 s and everything that is wanted lies in the first third of the unpacked kernel, so it stops
there; and the results are kept on disk under the image's hash.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from efishim.errors import ImageError
from efishim.image.budget import Budget
from efishim.image.bzimage import BzImage
from efishim.image.cachedir import read_own, write_atomically
from efishim.image.elf import (
    Elf,
    Note,
    PvhRelocation,
    Segment,
    parse_elf,
    parse_notes,
    pvh_entry,
    pvh_relocation,
)
from efishim.image.kallsyms import SEARCH_STEPS, Kallsyms, find_kallsyms
from efishim.image.payload import announced_size, detect, unpack, unpack_pieces
from efishim.image.symbols import Symbols, SymbolTable, symbols_from_elf, symbols_from_kallsyms

CACHE_FORMAT = 3
"""Part of every cache file's path. Count it up when the meaning of anything in them changes."""

ENTRY_CODE = 64
"""Bytes kept from the entry point on, to recognise it in memory."""

HEADERS = 64 << 10
"""Bytes that must be unpacked before the ELF headers are read."""

BANNER = re.compile(rb"Linux version \d{1,3}\.\d{1,5}[!-~]{0,128} \(")
"""linux_banner (init/version-timestamp.c), which no stripping takes away."""

STEP = 8 << 20
"""How much more is unpacked before kallsyms is looked for again."""

WANTED_SYMBOLS = (
    "_text",
    "_stext",
    "_etext",
    "_sinittext",
    "_einittext",
    "_end",
    "startup_64",
    "secondary_startup_64",
    "x86_64_start_kernel",
    "start_kernel",
    "rest_init",
    "kernel_init",
    "run_init_process",
    "pvh_start_xen",
    "xen_prepare_pvh",
    "boot_params",
    "pvh_start_info",
    "efi_enter_virtual_mode",
    "panic",
)
"""Symbols whose addresses are part of the facts, where the kernel has them."""


class KernelFacts(msgspec.Struct, frozen=True):
    """The kernel proper inside an image. Addresses are physical as linked, except those of `symbols`; sizes are in bytes."""

    method: str
    """How it is compressed (payload.Method)."""
    unpacked_size: int
    wide: bool
    """ELFCLASS64."""
    machine: int
    entry: int
    """The ELF's entry point: `startup_64` of a 64-bit Linux."""
    load_start: int
    load_end: int
    """The segments cover [load_start, load_end), BSS included."""
    entry_code: bytes
    """The first 64 bytes at `entry`."""
    segments: tuple[Segment, ...]
    notes: tuple[Note, ...]
    symbols: dict[str, int]
    """Virtual addresses of those of WANTED_SYMBOLS that it has; empty without symbols."""
    pvh_entry: int | None = None
    pvh_relocation: PvhRelocation | None = None
    linux: bool = True
    """Does its entry point mean what Linux's does? So say Linux's setup header in front of it, its symbols or its banner."""

    def physical_of(self, virtual: int) -> int | None:
        """Translate a virtual address as linked by the segments."""
        for s in self.segments:
            if s.virtual <= virtual < s.virtual + s.memory_size:
                return virtual - s.virtual + s.physical
        return None

    def virtual_of(self, physical: int) -> int | None:
        """Translate a physical address as linked by the segments."""
        for s in self.segments:
            if s.physical <= physical < s.physical + s.memory_size:
                return physical - s.physical + s.virtual
        return None


@dataclass(frozen=True)
class KernelSource:
    """Where a kernel is: in the payload of a bzImage, or an ELF file itself. `sha256` names the image file."""

    sha256: str
    data: bytes
    bzimage: BzImage | None = None
    elf: Elf | None = None

    def unpack(self) -> bytes:
        """The kernel's whole ELF file. Raises ImageError."""
        if self.elf is not None:
            return self.data
        return unpack(self._payload())

    def _payload(self) -> memoryview:
        if self.bzimage is None:
            raise ImageError("there is no kernel inside this image that could be unpacked")
        return self.bzimage.payload(self.data)

    def probe(self) -> Probe:
        """Unpack as much as is needed for the facts and the symbols. Raises ImageError."""
        if self.elf is not None:
            found = find_kallsyms(self.data, self.elf)
            return Probe("none", len(self.data), self.data, self.elf, found, complete=True, bare=True)
        payload = self._payload()
        method = detect(payload)
        buffer = bytearray()
        elf: Elf | None = None
        kallsyms: Kallsyms | None = None
        wanted = HEADERS
        budget = Budget(SEARCH_STEPS)
        for piece in unpack_pieces(payload):
            buffer += piece
            if len(buffer) < wanted:
                continue
            if elf is None:
                elf = parse_elf(buffer, complete=False)
                wanted = _enough(elf)
                if len(buffer) < wanted:
                    continue
            kallsyms = find_kallsyms(buffer, elf, budget)
            if kallsyms is not None:
                break
            wanted = len(buffer) + STEP
        whole = kallsyms is None
        if elf is None or whole:
            elf = parse_elf(buffer)
            kallsyms = find_kallsyms(buffer, elf, budget)
        size = announced_size(payload) if method and method != "none" else len(payload)
        return Probe(str(method), size, buffer, elf, kallsyms, complete=whole)


def _enough(elf: Elf) -> int:
    """Bytes of the file that hold the notes and the entry point."""
    ends = [at + size for at, size, _ in elf.note_ranges]
    entry = elf.offset_of_physical(elf.physical_entry)
    if entry is not None:
        ends.append(entry + ENTRY_CODE)
    return max(ends, default=HEADERS)


@dataclass(frozen=True)
class Probe:
    """A kernel's ELF file, or enough of its start."""

    method: str
    unpacked_size: int
    data: bytes | bytearray
    elf: Elf
    kallsyms: Kallsyms | None
    complete: bool
    bare: bool = False
    """The image is this ELF file, and was not found behind Linux's setup header."""

    def facts(self) -> KernelFacts:
        """Everything but the whole symbol table."""
        elf = self.elf
        notes = parse_notes(self.data, elf) if elf.note_ranges or self.complete else ()
        entry = elf.physical_entry
        at = elf.offset_of_physical(entry)
        start, end = elf.load_range
        symbols = self._wanted_symbols()
        return KernelFacts(
            method=self.method,
            unpacked_size=self.unpacked_size,
            wide=elf.wide,
            machine=elf.machine,
            entry=entry,
            load_start=start,
            load_end=end,
            entry_code=b"" if at is None else bytes(self.data[at : at + ENTRY_CODE]),
            segments=elf.segments,
            notes=notes,
            symbols=symbols,
            pvh_entry=pvh_entry(notes),
            pvh_relocation=pvh_relocation(elf, notes),
            linux=not self.bare or "startup_64" in symbols or BANNER.search(self.data) is not None,
        )

    def symbols(self) -> Symbols | None:
        """All symbols, None for a stripped file without kallsyms."""
        if self.kallsyms is not None:
            return symbols_from_kallsyms(self.kallsyms, self.elf)
        return symbols_from_elf(self.data, self.elf) if self.complete else None

    def _wanted_symbols(self) -> dict[str, int]:
        if self.kallsyms is not None:
            return self.kallsyms.find(WANTED_SYMBOLS)
        symbols = self.symbols()
        if symbols is None:
            return {}
        found = {name: symbols.address_of(name) for name in WANTED_SYMBOLS}
        return {name: address for name, address in found.items() if address is not None}


T = TypeVar("T")


class KernelCache:
    """Facts and symbols of kernels, remembered below a directory; without one, found anew each time.

    What cannot be read, is damaged, of another format or not this user's alone is found anew and written again; that a
    cache cannot be written is no error.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = None if directory is None else directory / "kernels" / str(CACHE_FORMAT)

    def facts(self, source: KernelSource) -> KernelFacts:
        """The facts of a kernel. Raises ImageError when there is none, or it cannot be unpacked."""
        known = self._load(source, "facts", KernelFacts)
        if known is not None:
            return known
        probe = source.probe()
        facts = probe.facts()
        if self._directory is not None:
            # Who asks for the facts of a kernel asks for its symbols next; now they cost no second unpacking.
            with suppress(ImageError):
                self._store_symbols(source, probe)
            self._store(source, "facts", facts)
        return facts

    def symbols(self, source: KernelSource) -> Symbols | None:
        """All symbols of a kernel, None when it has none. Raises ImageError as `facts` does."""
        table = self._load(source, "symbols", SymbolTable)
        if table is not None:
            with suppress(ImageError):  # not what was written: found anew
                return Symbols(table) if table.names else None
        return self._store_symbols(source, source.probe())

    def _store_symbols(self, source: KernelSource, probe: Probe) -> Symbols | None:
        symbols = probe.symbols()
        self._store(source, "symbols", SymbolTable(0, 0, b"", "") if symbols is None else symbols.table)
        return symbols

    def _path(self, source: KernelSource, kind: str) -> Path | None:
        return None if self._directory is None else self._directory / f"{source.sha256}.{kind}"

    def _load(self, source: KernelSource, kind: str, form: type[T]) -> T | None:
        path = self._path(source, kind)
        if path is None:
            return None
        try:
            content = read_own(path)
            digest, body = content[:32], content[32:]
            if hashlib.sha256(body).digest() != digest:
                return None
            return msgspec.msgpack.decode(body, type=form)
        except (OSError, msgspec.MsgspecError, ValueError):
            return None

    def _store(self, source: KernelSource, kind: str, value: object) -> None:
        path = self._path(source, kind)
        if path is None:
            return
        body = msgspec.msgpack.encode(value)
        try:
            write_atomically(path, hashlib.sha256(body).digest() + body)
        except OSError:
            return
