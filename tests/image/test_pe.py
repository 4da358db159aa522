"""PE images: headers against pefile, layout and relocation against what the specification says."""

from __future__ import annotations

import importlib
import struct
from pathlib import Path
from typing import Any

import pytest

from efishim.errors import ImageError
from efishim.image.pe import is_pe, layout_pe, parse_pe
from efishim.wire import pe as wire
from tests.support.images import SectionSpec, build_pe, relocation_block

pefile: Any = importlib.import_module("pefile")  # it comes without types

TEXT = SectionSpec(b".text", 0x1000, b"\xc3" * 0x300, 0x280)
DATA = SectionSpec(b".data", 0x2000, b"data" * 64, 0x3000, 0xC0000040)
COMPAT = SectionSpec(b".compat", 0x6000, struct.pack("<BBHI", 1, 8, 0x14C, 0x1234) + b"\0" * 8, 0x1000, 0x42000040)


def agrees_with_pefile(data: bytes) -> None:
    ours, theirs = parse_pe(data), pefile.PE(data=data, fast_load=True)
    for name, value in ours.coff.items():
        expected = theirs.NT_HEADERS.Signature if name == "Signature" else getattr(theirs.FILE_HEADER, name)
        assert value == expected, name
    for name, value in ours.optional.items():
        # pefile calls the word that the specification reserves Reserved1.
        expected = getattr(theirs.OPTIONAL_HEADER, "Reserved1" if name == "Win32VersionValue" else name)
        assert value == expected, name
    assert [
        (s.name, s.virtual_size, s.virtual_address, s.size_of_raw_data, s.pointer_to_raw_data, s.characteristics)
        for s in ours.sections
    ] == [
        (s.Name.rstrip(b"\0").decode(), s.Misc_VirtualSize, s.VirtualAddress, s.SizeOfRawData, s.PointerToRawData,
         s.Characteristics)
        for s in theirs.sections
    ]  # fmt: skip
    directories = {
        d.name.removeprefix("IMAGE_DIRECTORY_ENTRY_"): (d.VirtualAddress, d.Size)
        for d in theirs.OPTIONAL_HEADER.DATA_DIRECTORY
        if d.Size
    }
    assert dict(ours.directories) == directories


@pytest.mark.parametrize("plus", [True, False])
def test_headers_agree_with_pefile(plus: bool) -> None:
    agrees_with_pefile(build_pe([TEXT, DATA, COMPAT], plus=plus, machine=0x8664 if plus else 0x14C))


@pytest.mark.kernel
def test_headers_of_stock_kernels_agree_with_pefile(stock_kernel: Path) -> None:
    agrees_with_pefile(stock_kernel.read_bytes())


def test_what_a_loader_asks_first() -> None:
    pe = parse_pe(build_pe([TEXT, DATA, COMPAT]))
    assert (pe.machine_name, pe.plus, pe.subsystem, pe.entry_rva) == ("X64", True, 10, 0x1000)
    assert pe.nx_compat
    assert pe.relocatable
    assert pe.compat_entry(wire.MACHINE_I386) == 0x1234
    assert pe.compat_entry(0xAA64) is None
    assert not parse_pe(build_pe([TEXT], dll_characteristics=0, characteristics=0x0207)).nx_compat
    assert pe.sections[0].protection == "r-x"
    assert pe.sections[1].flags == ("CNT_INITIALIZED_DATA", "MEM_READ", "MEM_WRITE")


def test_layout_zeroes_what_the_file_does_not_hold() -> None:
    data = build_pe([TEXT, DATA])
    layout = layout_pe(data)
    image = layout.image_at(layout.preferred_base)
    assert len(image) == 0x10000
    assert image[:0x400] == data[:0x400]
    # .text has 0x300 bytes in a raw size of 0x400; its virtual size of 0x280 is what is loaded
    assert image[0x1000:0x2000] == b"\xc3" * 0x280 + b"\0" * 0xD80
    assert image[0x2000:0x5000] == (b"data" * 64).ljust(0x3000, b"\0")
    assert not any(image[0x5000:])
    assert [(p.name, p.rva, p.size, p.protection) for p in layout.pieces] == [
        ("headers", 0, 0x400, "r--"),
        (".text", 0x1000, 0x280, "r-x"),
        (".data", 0x2000, 0x3000, "rw-"),
    ]


def test_a_virtual_size_of_zero_means_the_raw_size() -> None:
    layout = layout_pe(build_pe([SectionSpec(b".text", 0x1000, b"\xc3" * 0x200, 0)]))
    assert layout.read(0x1000, 0x201) == b"\xc3" * 0x200 + b"\0"


def relocatable(blocks: bytes, *, characteristics: int = 0x0206, content: bytes = b"") -> bytes:
    data = SectionSpec(b".data", 0x2000, content or struct.pack("<QI", 0x400010, 0x400020), 0x1000, 0xC0000040)
    reloc = SectionSpec(b".reloc", 0x5000, blocks, len(blocks), 0x42000040)
    return build_pe([TEXT, data, reloc], relocations=(0x5000, len(blocks)), characteristics=characteristics)


def test_relocations_move_addresses_by_the_distance() -> None:
    layout = layout_pe(relocatable(relocation_block(0x2000, [(10, 0), (3, 8)])))
    image = layout.image_at(0x500000)
    assert struct.unpack_from("<QI", image, 0x2000) == (0x500010, 0x500020)
    assert layout.relocate(layout.preferred_base) == []
    assert layout.relocate(0x500000) == [(0x2000, struct.pack("<Q", 0x500010)), (0x2008, struct.pack("<I", 0x500020))]


def test_relocated_values_wrap_at_their_own_width() -> None:
    content = struct.pack("<QI", 0xFFFFFFFFFFFFFFF0, 0xFFFFFFF0)
    layout = layout_pe(relocatable(relocation_block(0x2000, [(10, 0), (3, 8)]), content=content))
    assert layout.relocate(0x400100) == [(0x2000, struct.pack("<Q", 0xF0)), (0x2008, struct.pack("<I", 0xF0))]


def test_a_relocation_in_the_zeroed_part_is_applied() -> None:
    layout = layout_pe(relocatable(relocation_block(0x2000, [(10, 0xF00)])))
    assert layout.image_at(0x400000 + 0x1000)[0x2F00:0x2F08] == struct.pack("<Q", 0x1000)


def test_an_image_without_relocations_is_bound_to_its_base() -> None:
    layout = layout_pe(build_pe([TEXT], characteristics=0x0207))
    assert layout.relocate(0x400000) == []
    with pytest.raises(ImageError, match="can only be loaded at 0x400000"):
        layout.relocate(0x500000)


@pytest.mark.parametrize(
    ("blocks", "reason"),
    [
        (relocation_block(0xF000, [(10, 0xFFC)]), "outside"),
        (relocation_block(0xFFFFF000, [(10, 0)]), "outside"),
        (relocation_block(0x2000, [(5, 0)]), "type 5"),
        (struct.pack("<II", 0x2000, 7), "block of 7 bytes"),
        (struct.pack("<II", 0x2000, 0x1000), "block of 4096 bytes"),
    ],
)
def test_bad_relocations_are_refused(blocks: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        layout_pe(relocatable(blocks))


def test_relocations_end_at_an_empty_block() -> None:
    blocks = relocation_block(0x2000, [(10, 0)]) + struct.pack("<II", 0, 0) + b"\xff" * 8
    assert layout_pe(relocatable(blocks)).relocations == ((10, 0x2000),)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (build_pe([TEXT], entry=0x10000), "entry point"),
        (build_pe([TEXT], entry=0), "entry point"),
        (build_pe([SectionSpec(b".text", 0xF000, b"\xc3", 0x1001)]), "behind its SizeOfImage"),
        (build_pe([TEXT], size_of_image=0), "asks for 0 bytes"),
        (build_pe([TEXT], size_of_image=0x200), "headers"),
        (build_pe([TEXT], size_of_image=0xFFFFFFFF), "asks for 4294967295 bytes"),
        (build_pe([TEXT], relocations=(0xFFFFFF00, 0x200)), "outside"),
    ],
)
def test_impossible_layouts_are_refused(image: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        layout_pe(image)


def test_truncation_is_named() -> None:
    whole = build_pe([TEXT, DATA])
    for size, reason in (
        (0x10, "MS-DOS header"),
        (0x90, "no PE signature"),
        (0xA0, "optional header"),
        (0x180, "table of 2 sections"),
        (0x67F, "section .text ends"),
        (len(whole) - 1, "section .data ends"),
    ):
        with pytest.raises(ImageError, match=reason):
            parse_pe(whole[:size])


def test_odd_section_names_stay_printable() -> None:
    sections = [SectionSpec(b"a\n\xff", 0x1000, b"\xc3" * 0x200, 0x200)]
    assert parse_pe(build_pe(sections)).sections[0].name == r"a\x0a\xff"


def test_a_dos_program_is_no_pe_image() -> None:
    program = b"MZ" + b"\0" * 200
    assert not is_pe(program)
    with pytest.raises(ImageError, match="no PE signature"):
        parse_pe(program)


def test_compat_records_end_at_what_they_do_not_define() -> None:
    record = struct.pack("<BBHI", 1, 8, 0x14C, 0x1000)
    for tail in (b"\0" * 8, struct.pack("<BBHI", 2, 8, 0x8664, 0), struct.pack("<BBHI", 1, 0, 0x8664, 0)):
        section = SectionSpec(b".compat", 0x2000, record + tail, 16, 0x42000040)
        assert parse_pe(build_pe([TEXT, section])).compat_entries == ((0x14C, 0x1000),)
