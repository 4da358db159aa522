"""Rebuilds the kernel's image from a dump, without the parts that loaders do not load.

A bzImage lacks its setup code, whose header is in boot_params. An ELF file lacks its headers, which are made anew for the one
segment that the kernel is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from efishim.dump.entry import pointer
from efishim.dump.model import Dump
from efishim.errors import ImageError
from efishim.image.elf import parse_elf
from efishim.image.entries import Entry
from efishim.image.facts import BANNER
from efishim.image.kallsyms import find_kallsyms
from efishim.machine.memory import BusError
from efishim.wire import elf as wire
from efishim.wire.bootparams import HDRS_MAGIC, BootParams, SetupHeader
from efishim.wire.linux_header import BOOT_FLAG, DEFAULT_SETUP_SECTS, ENTRY64_OFFSET, HEADER_START

SECTOR, PARAGRAPH = 512, 16
MAX_IMAGE = 256 << 20
"""Bytes that are taken for an image."""
ET_EXEC = 2
START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
"""Linux maps its image there: __START_KERNEL_map in arch/x86/include/asm/page_64_types.h."""
ALIGNMENT = 2 << 20
"""A 64-bit kernel begins at a multiple of it (CONFIG_PHYSICAL_ALIGN is at least that)."""
WINDOW = 64 << 20
"""Bytes behind a kernel's start in which its symbols are looked for."""
OWNER = b"Xen\0"
MAX_NOTES = 1024
"""Notes that are looked at."""


def image_in(dump: Dump, entry: Entry) -> bytes | None:
    """The image in a dump at an entry, None where it cannot be found. Never raises for what is in the dump."""
    if entry in (Entry.LINUX64, Entry.LINUX32):
        return _bzimage(dump, entry)
    return _vmlinux(dump) if entry is Entry.PVH else None


def pvh_notes(dump: Dump) -> Iterator[int]:
    """What the notes XEN_ELFNOTE_PHYS32_ENTRY in memory say: kernels keep them in a segment that is loaded."""
    heads = [
        wire.NoteHeader(n_namesz=len(OWNER), n_descsz=size, n_type=wire.XEN_ELFNOTE_PHYS32_ENTRY).build() for size in (4, 8)
    ]
    left = MAX_NOTES
    for one in dump.ranges:
        end = one.start
        before = b""
        for address, data in one.content():
            whole = before + data if address == end else data
            start = address - (len(whole) - len(data))
            for head in heads:
                at = whole.find(head + OWNER)
                while at >= 0 and left > 0:
                    left -= 1
                    value = _description(dump, start + at + len(head) + len(OWNER), int.from_bytes(head[4:8], "little"))
                    if value is not None:
                        yield value
                    at = whole.find(head + OWNER, at + 1)
            end, before = address + len(data), data[-32:]


def _description(dump: Dump, address: int, size: int) -> int | None:
    try:
        return int.from_bytes(dump.memory.read(address, size), "little")
    except BusError:
        return None


def _bzimage(dump: Dump, entry: Entry) -> bytes | None:
    base = dump.registers["rip"] - (ENTRY64_OFFSET if entry is Entry.LINUX64 else 0)
    try:
        header = SetupHeader.parse(dump.memory.read(pointer(dump, entry), BootParams.SIZE)[HEADER_START:])
        size = header.syssize * PARAGRAPH
        if header.header != HDRS_MAGIC or not 0 < size <= MAX_IMAGE:
            return None
        code = dump.memory.read(base, size)
    except BusError:
        return None
    header.boot_flag = BOOT_FLAG  # belongs to the boot sector, and not all loaders copy it
    setup = bytes(HEADER_START) + header.build()
    return setup.ljust(((header.setup_sects or DEFAULT_SETUP_SECTS) + 1) * SECTOR, b"\0") + code


@dataclass(frozen=True)
class _Segment:
    start: int
    data: bytes
    size: int


def _vmlinux(dump: Dump) -> bytes | None:
    """An ELF file around the kernel in memory. Its end is where its symbols say."""
    rip = dump.registers["rip"]
    if rip >= (1 << 64) - START_KERNEL_MAP or rip not in pvh_notes(dump):
        return None
    start = rip // ALIGNMENT * ALIGNMENT
    data = _all_from(dump, start, WINDOW)
    if BANNER.search(data) is None:
        return None
    try:
        first = _elf(_Segment(start, data, len(data)), start, rip)
        found = find_kallsyms(first, parse_elf(first))
        symbols = found.find(("_text", "_end", "startup_64")) if found is not None else {}
    except ImageError:
        return None
    linked = START_KERNEL_MAP + start
    end, entry = symbols.get("_end", 0) - START_KERNEL_MAP, symbols.get("startup_64", 0) - START_KERNEL_MAP
    if symbols.get("_text") != linked or not start <= entry < start + len(data) or not start < end <= start + MAX_IMAGE:
        return None
    whole = _all_from(dump, start, end - start)
    return _elf(_Segment(start, whole.rstrip(b"\0"), end - start), entry, rip)


def _all_from(dump: Dump, start: int, size: int) -> bytes:
    region = dump.memory.find(start)
    return b"" if region is None else dump.memory.read(start, min(size, region.end - start))


def _elf(segment: _Segment, entry: int, pvh_entry: int) -> bytes:
    """An ELF file with one segment and the note that names the PVH entry."""
    note = wire.NoteHeader(n_namesz=len(OWNER), n_descsz=8, n_type=wire.XEN_ELFNOTE_PHYS32_ENTRY).build()
    note += OWNER + pvh_entry.to_bytes(8, "little")
    identity = wire.ElfIdent(magic=wire.ELF_MAGIC, ei_class=wire.CLASS64, ei_data=wire.DATA_LITTLE, ei_version=1).build()
    at = wire.ElfHeader64.SIZE + 2 * wire.ProgramHeader64.SIZE
    header = wire.ElfHeader64(
        e_type=ET_EXEC,
        e_machine=wire.MACHINE_X86_64,
        e_version=1,
        e_entry=entry,
        e_phoff=wire.ElfHeader64.SIZE,
        e_ehsize=wire.ElfHeader64.SIZE,
        e_phentsize=wire.ProgramHeader64.SIZE,
        e_phnum=2,
    ).build()
    load = wire.ProgramHeader64(
        p_type=wire.PT_LOAD,
        p_flags=wire.PF_R | wire.PF_W | wire.PF_X,
        p_offset=at + len(note),
        p_vaddr=START_KERNEL_MAP + segment.start,
        p_paddr=segment.start,
        p_filesz=len(segment.data),
        p_memsz=segment.size,
    ).build()
    notes = wire.ProgramHeader64(p_type=wire.PT_NOTE, p_offset=at, p_filesz=len(note), p_memsz=len(note), p_align=4).build()
    return identity + header[len(identity) :] + load + notes + note + segment.data
