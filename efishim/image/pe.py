"""PE/COFF images: their headers, and how they lie in memory once loaded (UEFI 2.10, section 7.4.1, LoadImage).

pefile reads the headers; how they are laid out and relocated is here, since it knows Windows' loader and not firmware's.
Every number in the file is taken as hostile: what points outside the file, or outside the memory that the image itself
asks for, is an ImageError with one sentence.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from efishim.errors import ImageError
from efishim.image.text import printable
from efishim.wire import pe as wire

MAX_SIZE_OF_IMAGE = 1 << 30
"""Largest memory image, bytes. Real ones are below 100 MiB."""

MAX_RELOCATIONS = 1 << 21
"""Most base relocations that are followed. Xen has 2,000."""

MAX_HEADER_OFFSET = 1 << 24

MOST_OVERLAP = 2
"""How often all sections together may cover the image's memory, and take the bytes of its file; those of a sound image do
neither more than once."""
FEW = 100_000
"""Relocations times sections up to which each relocation looks through the sections for its bytes."""
MAX_SECTIONS = 0x800
"""Most rows of a section table: pefile reads no more. Kernels have 4 to 6, unified kernel images about 12."""

HARMLESS = (
    # How Windows 8 and malware analysts look at an image. Xen 4.17 has sections that are both written and executed.
    "cannot run under Windows 8",
    "Both IMAGE_SCN_MEM_WRITE and IMAGE_SCN_MEM_EXECUTE are set",
    # LoadImage takes an entry point anywhere in the image, and sizes up to what the machine has: `layout_pe` checks both.
    "AddressOfEntryPoint lies outside the sections' boundaries",
    "AddressOfEntryPoint lies outside the file",
    "VirtualSize is extremely large > 256MiB",
    "VirtualAddress is beyond 0x10000000",
    # FileAlignment is for whoever writes the file: a loader takes each section from where its row says.
    "PointerToRawData should normally be a multiple of FileAlignment",
    "If FileAlignment > 0x200 it should be a power of 2",
    "it should equal FileAlignment",
)
"""Warnings of pefile about what UEFI's LoadImage does not mind (EDK II, BasePeCoffLib). Every other one says that the
image was not read as it is written, and refuses it."""

PEFILE_NAMES = {"Win32VersionValue": "Reserved1"}
"""The specification's names of fields where pefile has others."""


@dataclass(frozen=True, slots=True)
class PeSection:
    """A row of the section table; sizes in bytes, addresses relative to the image base."""

    name: str
    virtual_size: int
    virtual_address: int
    size_of_raw_data: int
    pointer_to_raw_data: int
    characteristics: int

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the set characteristics."""
        return tuple(name for bit, name in wire.SECTION_CHARACTERISTICS.items() if self.characteristics & bit)

    @property
    def protection(self) -> str:
        """What the section asks for: `r`, `w` and `x`, a dash for what it does not."""
        bits = (("r", wire.SCN_MEM_READ), ("w", wire.SCN_MEM_WRITE), ("x", wire.SCN_MEM_EXECUTE))
        return "".join(letter if self.characteristics & bit else "-" for letter, bit in bits)

    @property
    def loaded_size(self) -> int:
        """Bytes that come from the file; the rest of `virtual_size` is zero. A virtual size of 0 means the raw size."""
        return min(self.size_of_raw_data, self.virtual_size or self.size_of_raw_data)


@dataclass(frozen=True, slots=True)
class PeImage:
    """The headers of a PE image."""

    machine: int
    plus: bool
    """PE32+ (64-bit fields) rather than PE32."""
    coff: Mapping[str, int]
    """The COFF header by the specification's field names."""
    optional: Mapping[str, int]
    """The optional header by the specification's field names."""
    directories: Mapping[str, tuple[int, int]]
    """Data directories: name to (RVA, size)."""
    sections: tuple[PeSection, ...]
    compat_entries: tuple[tuple[int, int], ...]
    """(machine, RVA of the entry point) of the .compat section: how firmware of another machine type enters."""

    @property
    def machine_name(self) -> str:
        """UEFI's name of the machine, or its number."""
        return wire.MACHINES.get(self.machine, f"machine {self.machine:#x}")

    @property
    def subsystem(self) -> int:
        """10 for an EFI application, 11 and 12 for EFI drivers."""
        return self.optional["Subsystem"]

    @property
    def entry_rva(self) -> int:
        """AddressOfEntryPoint, relative to the image base."""
        return self.optional["AddressOfEntryPoint"]

    @property
    def nx_compat(self) -> bool:
        """The image says that it needs no memory that is both writable and executable."""
        return bool(self.optional["DllCharacteristics"] & wire.NX_COMPAT)

    @property
    def relocatable(self) -> bool:
        """It may be loaded elsewhere than at ImageBase."""
        return not self.coff["Characteristics"] & wire.RELOCS_STRIPPED

    def section(self, name: str) -> PeSection | None:
        """The first section of that name."""
        return next((section for section in self.sections if section.name == name), None)

    def compat_entry(self, machine: int) -> int | None:
        """RVA of the entry point for another machine type (wire.pe.MACHINE_I386), None without one."""
        return next((entry for kind, entry in self.compat_entries if kind == machine), None)


def is_pe(data: bytes) -> bool:
    """Has it the MS-DOS and PE signatures?"""
    at = _header_offset(data)
    return at is not None and data[at : at + 4] == wire.PE_SIGNATURE


def _header_offset(data: bytes) -> int | None:
    """Where the MS-DOS header says that the PE signature is; None without such a header."""
    if len(data) < wire.DOS_HEADER_SIZE or data[:2] != wire.DOS_SIGNATURE:
        return None
    return int.from_bytes(data[wire.E_LFANEW : wire.E_LFANEW + 4], "little")


def parse_pe(data: bytes) -> PeImage:
    """Read all headers. Raises ImageError for what is no PE image, truncated, or points outside the file."""
    at = _header_offset(data)
    if at is None:
        raise ImageError("this is not a PE image: it does not start with an MS-DOS header")
    if at > MAX_HEADER_OFFSET or data[at : at + 4] != wire.PE_SIGNATURE:
        raise ImageError(f"this MS-DOS program is not a PE image: no PE signature at {at:#x}")
    opened = _open(data)
    coff, optional = opened.FILE_HEADER, opened.OPTIONAL_HEADER
    names = {wire.OPTIONAL_MAGIC_PE32: wire.OPTIONAL_HEADER, wire.OPTIONAL_MAGIC_PE32_PLUS: wire.OPTIONAL_HEADER_PLUS}
    if optional.Magic not in names:
        raise ImageError(f"the PE image has an optional header of unknown magic {optional.Magic:#x}")
    # pefile fills up with zeroes what is cut off here, and lets the section table lie over the header.
    size = coff.SizeOfOptionalHeader
    if size < optional.sizeof() or optional.get_file_offset() + size > len(data):
        raise ImageError(f"the PE image is truncated in its optional header of {size} bytes")
    if coff.NumberOfSections > MAX_SECTIONS:
        raise ImageError(f"the PE image has {coff.NumberOfSections} sections, more than {MAX_SECTIONS}")
    sections = _sections(opened.sections, len(data))
    for warning in opened.get_warnings():
        if not any(harmless in warning for harmless in HARMLESS):
            raise ImageError(f"the PE image is damaged: {_sentence(warning)}")
    room = (size - optional.sizeof()) // wire.DIRECTORY_SIZE
    image = PeImage(
        machine=coff.Machine,
        plus=optional.Magic == wire.OPTIONAL_MAGIC_PE32_PLUS,
        coff={"Signature": opened.NT_HEADERS.Signature, **_numbers(coff, wire.COFF_HEADER)},
        optional=_numbers(optional, names[optional.Magic]),
        directories={
            name: (directory.VirtualAddress, directory.Size)
            for name, directory in zip(wire.DIRECTORIES, optional.DATA_DIRECTORY[:room], strict=False)
            if directory.Size
        },
        sections=sections,
        compat_entries=_compat_entries(data, sections),
    )
    vars(opened).clear()  # it and its sections refer to each other: they would keep `data` until garbage is collected
    return image


def _open(data: bytes) -> Any:
    """pefile's reading of the headers. Raises ImageError for what it gives up on."""
    import pefile  # noqa: PLC0415 - only a run that has a PE image pays for it

    class Headers(pefile.PE):
        """A PE image in memory."""

        def close(self) -> None:
            """Nothing was opened. pefile collects garbage here, 17 ms for each image that it refuses."""

    try:
        return Headers(data=data, fast_load=True)  # type: ignore[no-untyped-call]
    except pefile.PEFormatError as error:
        raise ImageError(f"the headers of the PE image cannot be read: {_sentence(error.value)}") from error


def _sentence(words: str) -> str:
    return printable(words.encode()).rstrip(".")


def _numbers(header: Any, names: tuple[str, ...]) -> dict[str, int]:
    return {name: getattr(header, PEFILE_NAMES.get(name, name)) for name in names}


def _sections(rows: list[Any], file_size: int) -> tuple[PeSection, ...]:
    """The section table in its own order: pefile sorts by address, and of sections that overlap the later one wins."""
    sections = []
    for row in sorted(rows, key=lambda row: int(row.get_file_offset())):
        section = PeSection(
            name=printable(row.Name.split(b"\0")[0]),
            virtual_size=row.Misc_VirtualSize,
            virtual_address=row.VirtualAddress,
            size_of_raw_data=row.SizeOfRawData,
            pointer_to_raw_data=row.PointerToRawData,
            characteristics=row.Characteristics,
        )
        end = section.pointer_to_raw_data + section.loaded_size
        if section.loaded_size and end > file_size:
            raise ImageError(f"the PE image is truncated: section {section.name} ends at byte {end}, the file has {file_size}")
        sections.append(section)
    return tuple(sections)


def _compat_entries(data: bytes, sections: tuple[PeSection, ...]) -> tuple[tuple[int, int], ...]:
    """Records of type 1 until one of another type or an impossible size ends the list (arch/x86/boot/header.S)."""
    entries: list[tuple[int, int]] = []
    for section in sections:
        if section.name not in {".compat", ".pecompat"}:
            continue
        at, end = section.pointer_to_raw_data, section.pointer_to_raw_data + section.loaded_size
        while at + wire.CompatEntry.SIZE <= end and len(entries) < len(wire.MACHINES):
            record = wire.CompatEntry.parse(data[at : at + wire.CompatEntry.SIZE])
            if record.head.Type != wire.COMPAT_TYPE_1 or record.head.Size < wire.CompatEntry.SIZE:
                break
            entries.append((record.Machine, record.AddressOfEntryPoint))
            at += record.head.Size
    return tuple(entries)


@dataclass(frozen=True, slots=True)
class PePiece:
    """A part of the loaded image: `data` lies at `rva`, zeroes follow it up to `size` bytes."""

    name: str
    rva: int
    data: bytes
    size: int
    protection: str

    @property
    def end(self) -> int:
        """First RVA after the piece."""
        return self.rva + self.size


@dataclass(frozen=True, slots=True)
class PeLayout:
    """How a PE image lies in memory. RVAs count from the base; everything that no piece covers is zero."""

    size_of_image: int
    """Bytes of memory, a multiple of nothing in particular: round it up to pages."""
    section_alignment: int
    preferred_base: int
    entry_rva: int
    pieces: tuple[PePiece, ...]
    """The headers first, then the sections in the order of their table. Later ones overwrite earlier ones."""
    relocations: tuple[tuple[int, int], ...]
    """(type, RVA) of every base relocation, REL_ABSOLUTE left out."""
    relocatable: bool

    def read(self, rva: int, size: int) -> bytes:
        """Bytes of the loaded image before relocation; zeroes where no piece is."""
        out = bytearray(size)
        for piece in self.pieces:
            low, high = max(piece.rva, rva), min(piece.end, rva + size)
            if low < high:
                content = piece.data[low - piece.rva : high - piece.rva]
                out[low - rva : high - rva] = content.ljust(high - low, b"\0")
        return bytes(out)

    def relocate(self, base: int) -> list[tuple[int, bytes]]:
        """What changes when the image lies at `base` instead of its preferred base: (RVA, bytes) to write over it.

        Raises ImageError when the image was made for one address only and `base` is another.
        """
        delta = base - self.preferred_base
        if delta == 0:
            return []
        if not self.relocatable:
            raise ImageError(f"the PE image can only be loaded at {self.preferred_base:#x}, its relocations are stripped")
        changes = []
        content = self.read(0, self.size_of_image) if len(self.relocations) * len(self.pieces) > FEW else None
        for kind, rva in self.relocations:
            width = 8 if kind == wire.REL_DIR64 else 4
            before = self.read(rva, width) if content is None else content[rva : rva + width]
            value = int.from_bytes(before, "little") + delta
            changes.append((rva, (value % (1 << width * 8)).to_bytes(width, "little")))
        return changes

    def image_at(self, base: int) -> bytes:
        """The whole memory image at `base`, relocated: `size_of_image` bytes. Raises ImageError as `relocate` does."""
        memory = bytearray(self.size_of_image)
        for piece in self.pieces:
            memory[piece.rva : piece.end] = piece.data.ljust(piece.size, b"\0")
        for rva, content in self.relocate(base):
            memory[rva : rva + len(content)] = content
        return bytes(memory)


def layout_pe(data: bytes, pe: PeImage | None = None) -> PeLayout:
    """Lay out a PE image as LoadImage does. `pe` saves reading the headers again. Raises ImageError.

    Everything must lie inside SizeOfImage: headers, sections, entry point, relocations. Sections may overlap, as they
    may for EDK II's loader; the later one wins.
    """
    pe = pe or parse_pe(data)
    size = pe.optional["SizeOfImage"]
    if not 0 < size <= MAX_SIZE_OF_IMAGE:
        raise ImageError(f"the PE image asks for {size} bytes of memory")
    header_size = min(pe.optional["SizeOfHeaders"], len(data))
    if header_size > size:
        raise ImageError(f"the PE image's headers take {header_size} bytes, but its SizeOfImage is {size}")
    pieces = [PePiece("headers", 0, data[:header_size], header_size, "r--")]
    covered = copied = 0
    for section in pe.sections:
        loaded, start = section.loaded_size, section.pointer_to_raw_data
        extent = max(section.virtual_size, loaded)
        covered, copied = covered + extent, copied + loaded
        if covered > MOST_OVERLAP * size or copied > MOST_OVERLAP * len(data):
            raise ImageError(f"the PE image has sections of {covered} bytes over each other in its {size}")
        if section.virtual_address + extent > size:
            raise ImageError(
                f"section {section.name} of the PE image ends at {section.virtual_address + extent:#x},"
                f" behind its SizeOfImage of {size:#x}"
            )
        if extent:
            content = data[start : start + loaded]
            pieces.append(PePiece(section.name, section.virtual_address, content, extent, section.protection))
    if not 0 < pe.entry_rva < size:
        raise ImageError(f"the PE image's entry point {pe.entry_rva:#x} lies outside its {size:#x} bytes")
    layout = PeLayout(
        size_of_image=size,
        section_alignment=pe.optional["SectionAlignment"],
        preferred_base=pe.optional["ImageBase"],
        entry_rva=pe.entry_rva,
        pieces=tuple(pieces),
        relocations=(),
        relocatable=pe.relocatable,
    )
    rva, length = pe.directories.get("BASERELOC", (0, 0))
    if not length:
        return layout
    if rva + length > size:
        raise ImageError(f"the PE image's relocations {rva:#x}+{length:#x} lie outside its {size:#x} bytes")
    relocations = _relocations(layout.read(rva, length), size)
    return PeLayout(
        layout.size_of_image,
        layout.section_alignment,
        layout.preferred_base,
        layout.entry_rva,
        layout.pieces,
        relocations,
        layout.relocatable,
    )


def _relocations(table: bytes, size_of_image: int) -> tuple[tuple[int, int], ...]:
    """The entries of all blocks. A block of size 0 ends the table early, as firmware reads it.

    Read with struct and array: an image has thousands of entries, and a Layout takes tens of microseconds.
    """
    found: list[tuple[int, int]] = []
    at = 0
    while at + wire.RELOCATION_BLOCK_SIZE <= len(table):
        page, block_size = struct.unpack_from("<II", table, at)
        if block_size == 0:
            break
        if block_size < wire.RELOCATION_BLOCK_SIZE or at + block_size > len(table):
            raise ImageError(f"the PE image has a relocation block of {block_size} bytes at {at:#x} of its table")
        entries = array("H")
        entries.frombytes(table[at + wire.RELOCATION_BLOCK_SIZE : at + (block_size & ~1)])
        for entry in entries:
            kind, rva = entry >> 12, page + (entry & 0xFFF)
            if kind == wire.REL_ABSOLUTE:
                continue
            if kind not in {wire.REL_DIR64, wire.REL_HIGHLOW}:
                raise ImageError(f"the PE image has a base relocation of type {kind}, which x86 does not use")
            if rva + (8 if kind == wire.REL_DIR64 else 4) > size_of_image:
                raise ImageError(f"the PE image has a base relocation at {rva:#x}, outside its SizeOfImage")
            found.append((kind, rva))
        if len(found) > MAX_RELOCATIONS:
            raise ImageError(f"the PE image has more than {MAX_RELOCATIONS} base relocations")
        at += block_size
    return tuple(found)
