"""PE images: headers against objdump and the specification's offsets, layout and relocation against what it says."""

from __future__ import annotations

import gc
import random
import re
import shutil
import struct
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from efishim.errors import ImageError
from efishim.image import pe as pe_module
from efishim.image.pe import HARMLESS, is_pe, layout_pe, parse_pe
from efishim.wire import pe as wire
from tests.support.images import SectionSpec, build_pe, relocation_block

TEXT = SectionSpec(b".text", 0x1000, b"\xc3" * 0x300, 0x280)
DATA = SectionSpec(b".data", 0x2000, b"data" * 64, 0x3000, 0xC0000040)
BSS = SectionSpec(b".bss", 0x2000, b"", 0x1000, 0xC0000080)
COMPAT = SectionSpec(b".compat", 0x6000, struct.pack("<BBHI", 1, 8, 0x14C, 0x1234) + b"\0" * 8, 0x1000, 0x42000040)

PE_AT = 0x80
COFF_SIZE = 24
DIRECTORIES_AT = PE_AT + COFF_SIZE + 112
FILE_ALIGNMENT_AT = PE_AT + COFF_SIZE + 36
"""Where `build_pe` puts the PE header and, in a PE32+ image, the data directories."""

# The tables of the PE format specification: offset and size of each field.
COFF_FIELDS = {
    "Signature": (0, 4),
    "Machine": (4, 2),
    "NumberOfSections": (6, 2),
    "TimeDateStamp": (8, 4),
    "PointerToSymbolTable": (12, 4),
    "NumberOfSymbols": (16, 4),
    "SizeOfOptionalHeader": (20, 2),
    "Characteristics": (22, 2),
}
OPTIONAL_FIELDS_32 = {
    "Magic": (0, 2),
    "MajorLinkerVersion": (2, 1),
    "MinorLinkerVersion": (3, 1),
    "SizeOfCode": (4, 4),
    "SizeOfInitializedData": (8, 4),
    "SizeOfUninitializedData": (12, 4),
    "AddressOfEntryPoint": (16, 4),
    "BaseOfCode": (20, 4),
    "BaseOfData": (24, 4),
    "ImageBase": (28, 4),
    "SectionAlignment": (32, 4),
    "FileAlignment": (36, 4),
    "MajorOperatingSystemVersion": (40, 2),
    "MinorOperatingSystemVersion": (42, 2),
    "MajorImageVersion": (44, 2),
    "MinorImageVersion": (46, 2),
    "MajorSubsystemVersion": (48, 2),
    "MinorSubsystemVersion": (50, 2),
    "Win32VersionValue": (52, 4),
    "SizeOfImage": (56, 4),
    "SizeOfHeaders": (60, 4),
    "CheckSum": (64, 4),
    "Subsystem": (68, 2),
    "DllCharacteristics": (70, 2),
    "SizeOfStackReserve": (72, 4),
    "SizeOfStackCommit": (76, 4),
    "SizeOfHeapReserve": (80, 4),
    "SizeOfHeapCommit": (84, 4),
    "LoaderFlags": (88, 4),
    "NumberOfRvaAndSizes": (92, 4),
}
OPTIONAL_FIELDS_64 = {name: place for name, place in OPTIONAL_FIELDS_32.items() if name != "BaseOfData"} | {
    "ImageBase": (24, 8),
    "SizeOfStackReserve": (72, 8),
    "SizeOfStackCommit": (80, 8),
    "SizeOfHeapReserve": (88, 8),
    "SizeOfHeapCommit": (96, 8),
    "LoaderFlags": (104, 4),
    "NumberOfRvaAndSizes": (108, 4),
}


def number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def agrees_with_the_specification(data: bytes) -> None:
    """Every header field, directory and section is what stands at the place that the specification gives it."""
    pe, at = parse_pe(data), number(data, 0x3C, 4)
    assert dict(pe.coff) == {name: number(data, at + offset, size) for name, (offset, size) in COFF_FIELDS.items()}
    optional_at, plus = at + 24, number(data, at + 24, 2) == 0x20B
    fields = OPTIONAL_FIELDS_64 if plus else OPTIONAL_FIELDS_32
    assert pe.plus == plus
    assert list(pe.optional) == list(OPTIONAL_FIELDS_64 if plus else OPTIONAL_FIELDS_32)
    assert dict(pe.optional) == {name: number(data, optional_at + offset, size) for name, (offset, size) in fields.items()}
    table = optional_at + (112 if plus else 96)
    directories = [struct.unpack_from("<II", data, table + 8 * n) for n in range(pe.optional["NumberOfRvaAndSizes"])]
    assert list(pe.directories.values()) == [pair for pair in directories if pair[1]]
    assert pe.directories.get("BASERELOC", (0, 0))[1] == directories[5][1]
    rows = optional_at + pe.coff["SizeOfOptionalHeader"]
    assert [
        (s.name.encode(), s.virtual_size, s.virtual_address, s.size_of_raw_data, s.pointer_to_raw_data, s.characteristics)
        for s in pe.sections
    ] == [
        (row[0].rstrip(b"\0"), *row[1:5], row[9])
        for row in struct.iter_unpack("<8s6I2HI", data[rows : rows + 40 * pe.coff["NumberOfSections"]])
    ]


def agrees_with_objdump(path: Path) -> None:
    """What binutils prints of the same file. It shows no VirtualSize, characteristics as it understands them, and addresses
    with the image base.
    """
    if shutil.which("objdump") is None:
        pytest.skip("no objdump: apt-get install binutils")
    text = subprocess.run(["objdump", "-x", path], check=True, capture_output=True, text=True, timeout=60).stdout
    pe, theirs = parse_pe(path.read_bytes()), dict(re.findall(r"^(\w+)\s+([0-9a-f]+)\b", text, re.MULTILINE))
    names = {name: name.replace("OperatingSystem", "OSystem").removesuffix("Value") for name in pe.optional}
    decimal = re.compile("LinkerVersion|OSystemVersion|ImageVersion|SubsystemVersion")
    shown = {name: theirs[short] for name, short in names.items()}
    assert dict(pe.optional) == {name: int(value, 10 if decimal.search(names[name]) else 16) for name, value in shown.items()}
    entries = re.findall(r"^Entry [0-9a-f] ([0-9a-f]+) ([0-9a-f]+) ", text, re.MULTILINE)
    assert list(pe.directories.values()) == [(int(rva, 16), int(size, 16)) for rva, size in entries if int(size, 16)]
    rows = re.findall(r"^ +\d+ (\S+) +([0-9a-f]+)  ([0-9a-f]+)  [0-9a-f]+  ([0-9a-f]+) ", text, re.MULTILINE)
    base = pe.optional["ImageBase"]
    assert [(s.name, s.loaded_size, base + s.virtual_address, s.pointer_to_raw_data) for s in pe.sections] == [
        (name, int(size, 16), int(address, 16), int(at, 16)) for name, size, address, at in rows
    ]


@pytest.mark.parametrize("plus", [True, False])
def test_headers_agree_with_other_readers(plus: bool, tmp_path: Path) -> None:
    data = build_pe([TEXT, DATA, COMPAT], plus=plus, machine=0x8664 if plus else 0x14C, relocations=(0x2000, 8))
    agrees_with_the_specification(data)
    path = tmp_path / "image.efi"
    path.write_bytes(data)
    agrees_with_objdump(path)


@pytest.mark.kernel
def test_headers_of_stock_kernels_agree_with_other_readers(stock_kernel: Path) -> None:
    agrees_with_the_specification(stock_kernel.read_bytes())
    agrees_with_objdump(stock_kernel)


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
        (0x82, "no PE signature"),
        (0x90, "headers of the PE image cannot be read: File Header missing"),
        (0xA0, "cannot be read: No Optional Header found"),
        (0x100, "truncated in its optional header of 160 bytes"),
        (0x180, "cannot be read: Data length less than expected"),
        (0x67F, "section .text ends"),
        (len(whole) - 1, "section .data ends"),
    ):
        with pytest.raises(ImageError, match=reason):
            parse_pe(whole[:size])


def patched(data: bytes, at: int, content: bytes) -> bytes:
    return data[:at] + content + data[at + len(content) :]


def test_the_optional_header_must_have_room_for_its_fields() -> None:
    """Firmware refuses a size that ends before the data directories; the section table would lie over the fields."""
    whole = build_pe([TEXT])
    for size in (0, 111):
        with pytest.raises(ImageError, match=f"truncated in its optional header of {size} bytes"):
            parse_pe(patched(whole, PE_AT + 20, struct.pack("<H", size)))


def test_directories_end_where_the_optional_header_says() -> None:
    """Six directories are announced; the table of sections begins behind the second."""
    whole = build_pe([TEXT], relocations=(0x2000, 8))
    directories = patched(whole, DIRECTORIES_AT, struct.pack("<4I", 0x3000, 1, 0x4000, 2))
    assert set(parse_pe(directories).directories) == {"EXPORT", "IMPORT", "BASERELOC"}
    table = DIRECTORIES_AT + 6 * 8
    short = patched(directories, PE_AT + 20, struct.pack("<H", 112 + 16))
    short = patched(short, DIRECTORIES_AT + 16, whole[table : table + 40])
    assert dict(parse_pe(short).directories) == {"EXPORT": (0x3000, 1), "IMPORT": (0x4000, 2)}


def test_sections_keep_the_order_of_their_table() -> None:
    """Of two sections in one place the later one in the table wins, whatever their addresses."""
    later = SectionSpec(b".second", 0x1000, b"\x02" * 0x200, 0x1000)
    image = build_pe([SectionSpec(b".first", 0x1800, b"\x01" * 0x200, 0x800), later])
    assert [section.name for section in parse_pe(image).sections] == [".first", ".second"]
    assert layout_pe(image).read(0x1800, 1) == b"\0"


@pytest.mark.parametrize(
    ("image", "warning"),
    [
        (build_pe([TEXT], entry=0x300), "cannot run under Windows 8"),
        (build_pe([SectionSpec(b".text", 0x1000, b"\xc3", 16, 0xE0000020)]), "Both IMAGE_SCN_MEM_WRITE"),
        (build_pe([TEXT], entry=0x9000), "outside the sections' boundaries"),
        (build_pe([SectionSpec(b".text", 0x1000, b"\xc3", 0x8000)], entry=0x8000), "lies outside the file"),
        (build_pe([SectionSpec(b".text", 0x1000, b"\xc3", 0x18000000)], size_of_image=0x20000000), "VirtualSize is"),
        (build_pe([TEXT, SectionSpec(b".far", 0x18000000, b"", 0x1000)], size_of_image=0x20000000), "VirtualAddress is beyond"),
        (patched(build_pe([TEXT]), DIRECTORIES_AT + 48 + 20, b"\x04\x02"), "multiple of FileAlignment"),
        (patched(build_pe([TEXT]), FILE_ALIGNMENT_AT, struct.pack("<I", 0x300)), "power of 2"),
        (patched(build_pe([TEXT]), FILE_ALIGNMENT_AT - 4, struct.pack("<I", 0x20)), "equal FileAlignment"),
    ],
)
def test_what_only_looks_suspicious_is_loaded(image: bytes, warning: str) -> None:
    """Each warning that is passed over, on an image that firmware loads. A version of pefile that words one differently
    fails here; until then such an image is refused, not misread.
    """
    assert sum(warning in harmless for harmless in HARMLESS) == 1
    assert layout_pe(image).entry_rva


def test_every_harmless_warning_has_its_image() -> None:
    marks = test_what_only_looks_suspicious_is_loaded.pytestmark  # type: ignore[attr-defined]
    assert len(marks[0].args[1]) == len(HARMLESS)


MANY = [SectionSpec(b".%d" % n, 0x1000, b"", 16) for n in range(0x801)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (patched(build_pe([TEXT]), PE_AT + COFF_SIZE, b"\x07\x01"), "optional header of unknown magic 0x107"),
        (patched(build_pe([TEXT]), DIRECTORIES_AT - 4, struct.pack("<I", 17)), "Suspicious NumberOfRvaAndSizes"),
        (patched(build_pe([TEXT, DATA]), DIRECTORIES_AT + 48 + 40, bytes(40)), "Invalid section 1. Contents are null-bytes"),
        (build_pe([SectionSpec(b".text", 0x1000, b"\xc3" * 0x200, 0x10)])[:-1], "SizeOfRawData is larger than file"),
        (patched(build_pe([TEXT, BSS]), DIRECTORIES_AT + 48 + 40 + 20, b"\0\0\x40"), "SizeOfRawData is larger than file"),
        (build_pe(MANY), "has 2049 sections, more than 2048"),
    ],
)
def test_what_was_not_read_as_it_is_written_is_refused(image: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        parse_pe(image)


@pytest.mark.slow
def test_the_longest_table_of_sections_is_read() -> None:
    assert len(parse_pe(build_pe(MANY[1:])).sections) == 0x800


def test_an_image_is_not_kept_by_its_headers() -> None:
    """What pefile made refers to the file and to itself: kernels of a matrix would wait for a garbage collection."""
    data = build_pe([TEXT, DATA])
    gc.disable()
    try:
        pe = parse_pe(data)
        assert not [found for found in gc.get_referrers(data) if isinstance(found, dict) and "__data__" in found]
    finally:
        gc.enable()
    assert pe.sections


@pytest.mark.kernel
def test_mutated_headers_of_a_real_kernel(cloud_kernel: Path) -> None:
    """3,000 headers with up to four numbers changed: an image or an ImageError, at once. Every fourth is also laid out,
    which copies the whole kernel.
    """
    whole, chance = cloud_kernel.read_bytes(), random.Random(0x5A4D)
    at = number(whole, 0x3C, 4)
    rows = at + 24 + number(whole, at + 20, 2)
    places = [*range(0x40), *range(at, rows + 40 * number(whole, at + 6, 2))]
    numbers = [
        0,
        1,
        7,
        0x10,
        0x7FFF,
        0x8000,
        0xFFFF,
        0x10000000,
        0x7FFFFFFF,
        0x80000000,
        0xFFFFFFFF,
        len(whole),
        len(whole) - 1,
    ]
    head = whole[: places[-1] + 8]
    data = bytearray(whole)
    outcomes, slowest = Counter[str](), 0.0
    for turn in range(3000):
        data[: len(head)] = head
        for _ in range(chance.randint(1, 4)):
            place, width = chance.choice(places), chance.choice((1, 2, 4))
            value = chance.choice(numbers) if chance.random() < 0.5 else chance.getrandbits(32)
            data[place : place + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
        started = time.process_time()
        try:
            pe = parse_pe(bytes(data))
            if turn % 4 == 0:
                layout_pe(bytes(data), pe).relocate(0x40000000)
            outcomes["read"] += 1
        except ImageError as error:
            outcomes[error.sentence.partition(":")[0]] += 1
        slowest = max(slowest, time.process_time() - started)
    assert slowest < 1
    assert 500 < outcomes["read"] < 2500
    assert outcomes["the PE image is damaged"] > 100


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


@pytest.mark.parametrize("count", [1, 2, 3, 15])
def test_sections_that_lie_over_each_other_are_loaded_to_a_measure(count: int) -> None:
    """What loading costs follows from the image's size, and not from the number of its sections."""
    data = build_pe([SectionSpec(b".s", 0x1000, b"\xc3" * 0x200, 0xE000)] * count, size_of_image=0x10000)
    if count <= 2:
        assert len(layout_pe(data).pieces) == 1 + count
    else:
        with pytest.raises(ImageError, match="over each other"):
            layout_pe(data)


@pytest.mark.parametrize("count", [1, 2, 3, 15])
def test_bytes_of_the_file_are_loaded_to_a_measure(count: int) -> None:
    """Sections of one range of the file at different places."""
    sections = [SectionSpec(b".s", 0x1000 + 0x1000 * index, b"", 0x1000) for index in range(count)]
    data = bytearray(build_pe(sections, size_of_image=0x20000) + b"\xc3" * 0x1000)
    for index in range(count):
        struct.pack_into("<II", data, data.index(b".s\0") + 40 * index + 16, 0x1000, len(data) - 0x1000)
    if count * 0x1000 <= 2 * len(data):
        layout_pe(bytes(data))
    else:
        with pytest.raises(ImageError, match="over each other"):
            layout_pe(bytes(data))


def test_relocations_are_the_same_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    block = relocation_block(0x1000, [(10, 8 * index) for index in range(64)])
    text = SectionSpec(b".text", 0x1000, bytes(range(256)) * 4, 0x400)
    over = SectionSpec(b".over", 0x1010, b"\xff" * 0x20, 0x40)
    reloc = SectionSpec(b".reloc", 0x2000, block, len(block))
    layout = layout_pe(build_pe([text, over, reloc], relocations=(0x2000, len(block))))
    few = layout.relocate(0x12345000)
    assert len(few) == 64
    monkeypatch.setattr(pe_module, "FEW", 0)
    assert layout.relocate(0x12345000) == few
