"""Waits for the image that a real boot loader starts, and finds out how it did.

The bytes of the image are known. So it is recognised where control arrives: at any of its entries, wherever the loader has put
it, by firmware's LoadImage and StartImage or by itself. Before that moment nothing of the loader is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from efishim.dump.entry import placed
from efishim.errors import EfishimError, ImageError
from efishim.image.entries import Entry
from efishim.image.opened import Image
from efishim.image.pe import layout_pe
from efishim.lab.boot.booted import Booted
from efishim.machine.machine import Machine
from efishim.machine.memory import PAGE, BusError
from efishim.plugins import Registry
from efishim.provider import Handover, Loaded, Provider, native_structures
from efishim.wire.linux_header import ENTRY64_OFFSET
from efishim.wire.pe import MACHINE_X64

RECOGNISED, LEAST, UNTOUCHED = 1024, 32, 16
"""Most and fewest bytes at an entry by which an image is recognised, as kernels of one distribution begin alike; of the setup
header those that no loader writes to."""
REAL_MODE_ENTRY = 0x200
"""The jump at the start of the setup header, one paragraph-aligned segment behind the boot sector (boot.rst)."""
PARAGRAPH = 16
POINTERS = {Entry.EFI_HANDOVER: "rdx", Entry.LINUX64: "rsi", Entry.LINUX32: "rsi", Entry.LINUX16: "ds.base"}
"""The register that leads to boot_params at each entry."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An entry of the image: the code there, and its offset from the image's base in memory."""

    entry: Entry
    code: bytes
    offset: int
    alignment: int = PAGE


class LoaderRun:
    """A boot loader that is about to run. Call `follow` before the guest runs."""

    def __init__(self, machine: Machine, image: Image, booted: Booted, registry: Registry) -> None:
        self._machine, self._image, self._booted, self._registry = machine, image, booted, registry
        self._waiting: list[Callable[[int], None]] = []
        self._arrived: Callable[[], None] = lambda: None
        self.problems: Sequence[str] = ()
        """What of the disk could not be used or started; the first `known` are in the record already."""
        self.known = 0
        self.entry = ""
        """The entry at which the image was started; empty before."""

    def follow(self, arrived: Callable[[], None]) -> None:
        """Call back when the image is about to run its first instruction."""
        self._arrived = arrived
        for one in _candidates(self._image):

            def met(address: int, candidate: _Candidate = one) -> None:
                self._met(candidate, address)

            self._waiting.append(met)
            mask = one.alignment - 1
            self._machine.watches.add_code(mask, one.offset & mask, one.code, met)

    def notes(self) -> list[str]:
        """For the record, when the run is over."""
        late = [f"the disk: {problem}" for problem in self.problems[self.known :]]
        return late if self.entry else [*late, "the loader did not start the kernel: nothing arrived at any of its entries"]

    def _met(self, candidate: _Candidate, address: int) -> None:
        if self.entry or address < candidate.offset:  # below, its beginning would have no address
            return
        for one in self._waiting:
            self._machine.watches.forget(one)
        self.entry = candidate.entry.value
        base = address - candidate.offset
        booted = self._booted
        booted.loaded = self._loaded(candidate.entry, base, address)
        self._describe(candidate.entry)
        self._arrived()

    def _loaded(self, entry: Entry, base: int, address: int) -> Loaded:
        """Where the image lies, as for one that was put there by efishim itself."""
        parts, booted = self._image.parts, self._booted
        if entry is Entry.EFI and parts.pe is not None:
            return Loaded(base, parts.pe.optional["SizeOfImage"], address)
        try:
            place = placed(self._image, entry, base)
        except EfishimError:  # it lies where the kernel does not ask to be, which the checks of the entry will say
            size = parts.bzimage.value("init_size") if parts.bzimage is not None else 0
            return Loaded(base, size, address)
        booted.pieces, booted.kernel_slide = place.pieces, place.kernel_slide
        return place.loaded

    def _describe(self, entry: Entry) -> None:
        """The native structure that the loader wrote, as a provider reads it that drives the same entry."""
        register = POINTERS.get(entry)
        provider = self._reader(entry)
        if register is None or provider is None:
            return
        machine, booted = self._machine, self._booted
        booted.handover = handover = Handover(machine.cpu.get(register))
        try:
            booted.structures = native_structures(provider, machine.memory, handover)
            booted.modules = provider.read_back(machine.memory, handover).modules
        except (EfishimError, BusError) as error:
            booted.notes.append(f"what the loader wrote for the kernel cannot be read: {error}")

    def _reader(self, entry: Entry) -> Provider | None:
        for provider in self._registry.providers_ours_first.values():
            if any(one.name == entry for one in provider.entries):
                return provider
        return None


def _candidates(image: Image) -> Iterator[_Candidate]:
    """The entries at which an image can be recognised."""
    data, linux = image.data, image.parts.bzimage

    def of_file(entry: Entry, offset: int, start: int) -> Iterator[_Candidate]:
        code = data[start + offset : start + offset + RECOGNISED]
        if len(code) >= LEAST:
            yield _Candidate(entry, code, offset)

    yield from _efi(image)
    if linux is not None:
        handover = linux.handover_entry
        if handover is not None:
            yield from of_file(Entry.EFI_HANDOVER, handover, linux.setup_size)
        yield from of_file(Entry.LINUX32, 0, linux.setup_size)
        if Entry.LINUX64 in image.entries:
            yield from of_file(Entry.LINUX64, ENTRY64_OFFSET, linux.setup_size)
        yield _Candidate(Entry.LINUX16, data[REAL_MODE_ENTRY : REAL_MODE_ENTRY + UNTOUCHED], REAL_MODE_ENTRY, PARAGRAPH)


def _efi(image: Image) -> Iterator[_Candidate]:
    pe = image.parts.pe
    if pe is None or pe.machine != MACHINE_X64:
        return
    try:
        layout = layout_pe(image.data, pe)
    except ImageError:
        return
    # What LoadImage relocates is not in memory as it is in the file.
    moved = min((rva - pe.entry_rva for _, rva in layout.relocations if rva >= pe.entry_rva), default=RECOGNISED)
    for piece in layout.pieces:
        if piece.rva <= pe.entry_rva < piece.end:
            at = pe.entry_rva - piece.rva
            code = bytes(piece.data[at : at + min(RECOGNISED, max(moved, LEAST))])
            if len(code) >= LEAST:
                yield _Candidate(Entry.EFI, code, pe.entry_rva)
