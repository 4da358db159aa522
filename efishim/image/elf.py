"""ELF files: segments, sections, notes, and the physical entry point.

Works on whole files and on the first bytes of one that is still being unpacked (`complete=False`): then only what the
program headers say is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec

from efishim.errors import ImageError
from efishim.image.text import printable
from efishim.wire import elf as wire
from efishim.wire.layout import Buffer

MAX_HEADERS = 4096
"""Most program or section headers that are read. Kernels have about 5 and 50."""

MAX_NOTES = 1024
MAX_NOTE_SEGMENT = 1 << 20
MAX_NAME = 4096
"""Longest section name that is read, bytes."""


class Segment(msgspec.Struct, frozen=True):
    """A PT_LOAD segment. Addresses as the file gives them, sizes in bytes."""

    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int
    flags: int

    @property
    def protection(self) -> str:
        """`r`, `w` and `x`, a dash for what it lacks."""
        bits = (("r", wire.PF_R), ("w", wire.PF_W), ("x", wire.PF_X))
        return "".join(letter if self.flags & bit else "-" for letter, bit in bits)


class Note(msgspec.Struct, frozen=True):
    """A note by owner and number. `name` is empty for a number that its owner does not define."""

    owner: str
    type: int
    description: bytes

    @property
    def name(self) -> str:
        """What the owner calls the type."""
        return wire.NOTES.get((self.owner, self.type), "")

    @property
    def number(self) -> int:
        """The description as one little-endian number, as Xen's notes carry addresses."""
        return int.from_bytes(self.description, "little")


class Section(msgspec.Struct, frozen=True):
    """A row of the section header table."""

    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int


@dataclass(frozen=True, slots=True)
class Elf:
    """An ELF file's headers."""

    wide: bool
    """ELFCLASS64."""
    type: int
    machine: int
    entry: int
    """e_entry as it stands in the file."""
    segments: tuple[Segment, ...]
    note_ranges: tuple[tuple[int, int, int], ...]
    """(file offset, size, alignment) of the PT_NOTE segments."""
    section_table: tuple[int, int, int]
    """(file offset, count, index of the name section)."""
    image_base: int = 0
    """What addresses in the file may be relative to: 0, except for a PE image that is read as an ELF file."""

    @property
    def machine_name(self) -> str:
        """The gABI's name of the machine, or its number."""
        return wire.MACHINES.get(self.machine, f"machine {self.machine}")

    @property
    def physical_entry(self) -> int:
        """The entry point as a physical address.

        Linux' linker script puts a physical address into e_entry (arch/x86/kernel/vmlinux.lds.S, phys_startup_64);
        where it is no physical address of a segment but a virtual one, it is translated.
        """
        if any(s.physical <= self.entry < s.physical + s.memory_size for s in self.segments):
            return self.entry
        physical = self.physical_of(self.entry)
        return self.entry if physical is None else physical

    @property
    def load_range(self) -> tuple[int, int]:
        """Physical [start, end) that the segments cover; (0, 0) without segments."""
        return load_range(self.segments)

    def physical_of(self, virtual: int) -> int | None:
        """Translate by the program headers."""
        for segment in self.segments:
            if segment.virtual <= virtual < segment.virtual + segment.memory_size:
                return virtual - segment.virtual + segment.physical
        return None

    def offset_of_physical(self, physical: int) -> int | None:
        """File offset of a physical address, None where the file has no bytes for it."""
        for segment in self.segments:
            if segment.physical <= physical < segment.physical + segment.file_size:
                return physical - segment.physical + segment.offset
        return None

    def virtual_of_offset(self, offset: int) -> int | None:
        """Virtual address of a byte of the file."""
        for segment in self.segments:
            if segment.offset <= offset < segment.offset + segment.file_size:
                return offset - segment.offset + segment.virtual
        return None


def load_range(segments: tuple[Segment, ...]) -> tuple[int, int]:
    """Physical [start, end) that segments cover; (0, 0) without any."""
    loaded = [s for s in segments if s.memory_size]
    if not loaded:
        return 0, 0
    return min(s.physical for s in loaded), max(s.physical + s.memory_size for s in loaded)


def is_elf(data: Buffer) -> bool:
    """Has it the ELF signature?"""
    return bytes(data[:4]) == wire.ELF_MAGIC


def parse_elf(data: Buffer, *, complete: bool = True) -> Elf:
    """Read the headers. Raises ImageError for what is no little-endian ELF, is truncated, or points outside the file.

    With `complete=False`, `data` holds only the start of the file, and ends are not checked against it.
    """
    if not is_elf(data) or len(data) < wire.ElfIdent.SIZE:
        raise ImageError("this is not an ELF file")
    ident = wire.ElfIdent.parse(data)
    if ident.ei_class not in {wire.CLASS32, wire.CLASS64} or ident.ei_data != wire.DATA_LITTLE:
        raise ImageError(f"the ELF file has class {ident.ei_class} and byte order {ident.ei_data}, x86 has neither")
    wide = ident.ei_class == wire.CLASS64
    header_type = wire.ElfHeader64 if wide else wire.ElfHeader32
    if len(data) < header_type.SIZE:
        raise ImageError("the ELF file is truncated in its header")
    header = header_type.parse(data)
    row_type = wire.ProgramHeader64 if wide else wire.ProgramHeader32
    if header.e_phnum > MAX_HEADERS or (header.e_phnum and header.e_phentsize != row_type.SIZE):
        raise ImageError(f"the ELF file has {header.e_phnum} program headers of {header.e_phentsize} bytes")
    if header.e_phnum and header.e_phoff + header.e_phnum * row_type.SIZE > len(data):
        raise ImageError("the ELF file is truncated in its program headers")
    segments: list[Segment] = []
    notes: list[tuple[int, int, int]] = []
    for index in range(header.e_phnum):
        at = header.e_phoff + index * row_type.SIZE
        row = row_type.parse(data[at : at + row_type.SIZE])
        if row.p_type not in {wire.PT_LOAD, wire.PT_NOTE}:
            continue
        if complete and row.p_filesz and row.p_offset + row.p_filesz > len(data):
            raise ImageError(
                f"the ELF file is truncated: segment {index} ends at byte {row.p_offset + row.p_filesz},"
                f" the file has {len(data)}"
            )
        if row.p_type == wire.PT_NOTE:
            notes.append((row.p_offset, row.p_filesz, row.p_align))
            continue
        if row.p_memsz < row.p_filesz or row.p_paddr + row.p_memsz > 1 << 64:
            raise ImageError(f"segment {index} of the ELF file does not fit its own {row.p_memsz:#x} bytes of memory")
        segments.append(Segment(row.p_offset, row.p_vaddr, row.p_paddr, row.p_filesz, row.p_memsz, row.p_flags))
    return Elf(
        wide=wide,
        type=header.e_type,
        machine=header.e_machine,
        entry=header.e_entry,
        segments=tuple(segments),
        note_ranges=tuple(notes),
        section_table=(header.e_shoff, header.e_shnum if header.e_shoff else 0, header.e_shstrndx),
    )


def parse_notes(data: Buffer, elf: Elf) -> tuple[Note, ...]:
    """All notes of the PT_NOTE segments; where there are none, of the note sections, as Xen's own loader does.

    Ranges outside `data` are left out, a malformed note ends its range: notes are hints and never make a file invalid.
    """
    ranges = elf.note_ranges
    if not ranges:
        ranges = tuple((s.offset, s.size, 4) for s in parse_sections(data, elf) if s.type == wire.SHT_NOTE)
    return tuple(islice(_all_notes(data, ranges), MAX_NOTES))


def _all_notes(data: Buffer, ranges: Iterable[tuple[int, int, int]]) -> Iterator[Note]:
    """Ranges may overlap, so it is all of them together that is bounded."""
    left = MAX_NOTE_SEGMENT
    for at, size, alignment in dict.fromkeys(ranges):
        if size > left:
            continue
        left -= size
        yield from _notes_of(data, at, size, alignment)


def _notes_of(data: Buffer, at: int, size: int, alignment: int) -> Iterator[Note]:
    if at + size > len(data):
        return
    step = 8 if alignment == 8 else 4
    raw = bytes(data[at : at + size])
    position = 0
    for _ in range(MAX_NOTES):
        if position + wire.NoteHeader.SIZE > len(raw):
            return
        head = wire.NoteHeader.parse(raw[position : position + wire.NoteHeader.SIZE])
        name_at = position + wire.NoteHeader.SIZE
        description_at = name_at + -(-head.n_namesz // step) * step if step == 4 else _align(name_at + head.n_namesz, 8)
        end = description_at + head.n_descsz
        if end > len(raw):
            return
        owner = printable(raw[name_at : name_at + head.n_namesz].rstrip(b"\0"))
        yield Note(owner, head.n_type, raw[description_at:end])
        position = _align(end, step)


def _align(value: int, step: int) -> int:
    return -(-value // step) * step


def parse_sections(data: Buffer, elf: Elf) -> tuple[Section, ...]:
    """The section headers with their names. Raises ImageError when the table lies outside the file."""
    at, count, name_index = elf.section_table
    row_type = wire.SectionHeader64 if elf.wide else wire.SectionHeader32
    if count > MAX_HEADERS:
        raise ImageError(f"the ELF file has {count} sections")
    if at + count * row_type.SIZE > len(data):
        raise ImageError(f"the ELF file is truncated: {count} section headers at byte {at}, the file has {len(data)}")
    rows = [row_type.parse(data[at + i * row_type.SIZE : at + (i + 1) * row_type.SIZE]) for i in range(count)]
    names = b""
    if name_index < count:
        names = bytes(data[rows[name_index].sh_offset : rows[name_index].sh_offset + rows[name_index].sh_size])
    return tuple(
        Section(
            name=printable(names[row.sh_name : row.sh_name + MAX_NAME].split(b"\0")[0]),
            type=row.sh_type,
            flags=row.sh_flags,
            address=row.sh_addr,
            offset=row.sh_offset,
            size=row.sh_size,
            link=row.sh_link,
            entry_size=row.sh_entsize,
        )
        for row in rows
    )


def xen_note(notes: tuple[Note, ...], number: int) -> Note | None:
    """The last of Xen's notes of that number, since later ones override (xen/common/libelf/libelf-dominfo.c)."""
    return next((note for note in reversed(notes) if note.owner == wire.XEN_OWNER and note.type == number), None)


def pvh_entry(notes: tuple[Note, ...]) -> int | None:
    """Physical address of the PVH entry (XEN_ELFNOTE_PHYS32_ENTRY), None without the note."""
    note = xen_note(notes, wire.XEN_ELFNOTE_PHYS32_ENTRY)
    if note is None or len(note.description) not in {4, 8} or note.number >= 1 << 32:
        return None
    return note.number


class PvhRelocation(msgspec.Struct, frozen=True):
    """XEN_ELFNOTE_PHYS32_RELOC: the kernel may be loaded anywhere in [minimum, maximum], in steps of `alignment`."""

    alignment: int
    minimum: int
    maximum: int


def pvh_relocation(elf: Elf, notes: tuple[Note, ...]) -> PvhRelocation | None:
    """What XEN_ELFNOTE_PHYS32_RELOC says, its optional words filled in as elfnote.h defines; None without the note."""
    note = xen_note(notes, wire.XEN_ELFNOTE_PHYS32_RELOC)
    if note is None:
        return None
    words = [int.from_bytes(note.description[i : i + 4], "little") for i in range(0, len(note.description) & ~3, 4)]
    start, _ = elf.load_range
    default_alignment = max((start & -start) if start else 0x200000, 0x1000)
    alignment, minimum, maximum = (*words, *(0, 0, 0))[:3] if words else (0, 0, 0)
    return PvhRelocation(alignment or default_alignment, minimum, maximum if len(words) > 2 else 0xFFFFFFFF)
