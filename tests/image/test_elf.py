"""ELF files, against pyelftools and against what the notes' headers define."""

from __future__ import annotations

import io
import struct

import pytest
from elftools.elf.elffile import ELFFile

from efishim.errors import ImageError
from efishim.image.elf import (
    PvhRelocation,
    parse_elf,
    parse_notes,
    parse_sections,
    pvh_entry,
    pvh_relocation,
    xen_note,
)
from tests.support.images import build_elf, build_kernel_elf, elf_note

VIRTUAL, PHYSICAL = 0xFFFFFFFF81000000, 0x1000000
CODE = b"\x90" * 0x300


@pytest.mark.parametrize("wide", [True, False])
def test_headers_agree_with_pyelftools(wide: bool) -> None:
    virtual = VIRTUAL if wide else 0xC1000000
    sections = [(b".symtab", 2, b"\0" * 48, 2, 24), (b".strtab", 3, b"\0name\0", 0, 0)]
    data = build_elf(
        [(virtual, PHYSICAL, CODE, 0x1000), (virtual + 0x2000, PHYSICAL + 0x2000, b"data", 0x800)],
        entry=PHYSICAL + 0x10,
        notes=elf_note(b"Xen", 18, b"\0\0\0\1"),
        wide=wide,
        machine=62 if wide else 3,
        sections=sections,
    )
    ours, theirs = parse_elf(data), ELFFile(io.BytesIO(data))
    assert ours.entry == theirs.header["e_entry"]
    expected = [s.header for s in theirs.iter_segments() if s.header["p_type"] == "PT_LOAD"]
    assert [(s.offset, s.virtual, s.physical, s.file_size, s.memory_size, s.flags) for s in ours.segments] == [
        (h["p_offset"], h["p_vaddr"], h["p_paddr"], h["p_filesz"], h["p_memsz"], h["p_flags"]) for h in expected
    ]
    assert [(s.name, s.offset, s.size, s.link, s.entry_size) for s in parse_sections(data, ours)] == [
        (s.name, s["sh_offset"], s["sh_size"], s["sh_link"], s["sh_entsize"]) for s in theirs.iter_sections()
    ]


def test_the_entry_point_is_physical() -> None:
    segments = [(VIRTUAL, PHYSICAL, CODE, 0x1000)]
    assert parse_elf(build_elf(segments, entry=PHYSICAL + 0x53)).physical_entry == PHYSICAL + 0x53
    assert parse_elf(build_elf(segments, entry=VIRTUAL + 0x53)).physical_entry == PHYSICAL + 0x53
    assert parse_elf(build_elf(segments, entry=0x42)).physical_entry == 0x42


def test_addresses_translate_by_the_program_headers() -> None:
    elf = parse_elf(build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000), (0, PHYSICAL + 0x1000, b"cpu", 0x10)], entry=PHYSICAL))
    assert elf.load_range == (PHYSICAL, PHYSICAL + 0x1010)
    assert elf.physical_of(VIRTUAL + 0x500) == PHYSICAL + 0x500
    assert elf.physical_of(VIRTUAL + 0x1000) is None
    assert elf.offset_of_physical(PHYSICAL + len(CODE)) is None
    offset = elf.offset_of_physical(PHYSICAL + 3)
    assert offset is not None
    assert elf.virtual_of_offset(offset) == VIRTUAL + 3


def test_notes_by_number_and_owner() -> None:
    notes = (
        elf_note(b"Linux", 0x100, b"6.1.0\0")
        + elf_note(b"Xen", 5, b"xen-3.0\0")
        + elf_note(b"GNU", 3, b"\1" * 20)
        + elf_note(b"Xen", 18, struct.pack("<Q", 0x1000850))
    )
    data = build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000)], entry=PHYSICAL, notes=notes)
    found = parse_notes(data, parse_elf(data))
    # pyelftools calls number 5 of any owner NT_GNU_PROPERTY_TYPE_0 and does not know 18.
    assert [(n.owner, n.type, n.name) for n in found] == [
        ("Linux", 0x100, "LINUX_ELFNOTE_BUILD_SALT"),
        ("Xen", 5, "XEN_ELFNOTE_XEN_VERSION"),
        ("GNU", 3, "NT_GNU_BUILD_ID"),
        ("Xen", 18, "XEN_ELFNOTE_PHYS32_ENTRY"),
    ]
    assert found[1].description == b"xen-3.0\0"
    assert pvh_entry(found) == 0x1000850
    assert xen_note(found, 3) is None


def test_the_last_of_several_notes_counts() -> None:
    notes = elf_note(b"Xen", 18, struct.pack("<I", 1)) + elf_note(b"Xen", 18, struct.pack("<I", 2))
    data = build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000)], entry=PHYSICAL, notes=notes)
    assert pvh_entry(parse_notes(data, parse_elf(data))) == 2


def test_note_sections_count_where_there_is_no_note_segment() -> None:
    sections = [(b".note.Xen", 7, elf_note(b"Xen", 18, struct.pack("<I", 0x100000)), 0, 0)]
    data = build_elf([(0x100000, 0x100000, CODE, 0x1000)], entry=0x100000, sections=sections, wide=False, machine=3)
    assert pvh_entry(parse_notes(data, parse_elf(data))) == 0x100000


@pytest.mark.parametrize(
    "description", [b"", b"\0" * 3, b"\0" * 12, struct.pack("<Q", 1 << 32)], ids=["empty", "short", "long", "above 4 GiB"]
)
def test_a_pvh_note_of_another_form_is_no_entry(description: bytes) -> None:
    data = build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000)], entry=PHYSICAL, notes=elf_note(b"Xen", 18, description))
    assert pvh_entry(parse_notes(data, parse_elf(data))) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        # elfnote.h: alignment, then lowest, then highest address; each may be missing
        ((0x200000, 0x1000000, 0x3FFFFFFF), PvhRelocation(0x200000, 0x1000000, 0x3FFFFFFF)),
        ((0x400000, 0x1000000), PvhRelocation(0x400000, 0x1000000, 0xFFFFFFFF)),
        ((0x400000,), PvhRelocation(0x400000, 0, 0xFFFFFFFF)),
        ((), PvhRelocation(0x1000000, 0, 0xFFFFFFFF)),
    ],
)
def test_pvh_relocation(words: tuple[int, ...], expected: PvhRelocation) -> None:
    notes = elf_note(b"Xen", 19, struct.pack(f"<{len(words)}I", *words))
    data = build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000)], entry=PHYSICAL, notes=notes)
    elf = parse_elf(data)
    assert pvh_relocation(elf, parse_notes(data, elf)) == expected
    assert pvh_relocation(elf, ()) is None


def test_malformed_notes_end_the_list() -> None:
    good = elf_note(b"Xen", 18, struct.pack("<I", 7))
    for bad in (struct.pack("<III", 0xFFFFFFFF, 4, 1), struct.pack("<III", 4, 0xFFFFFFFF, 1) + b"Xen\0", b"\1\2\3"):
        data = build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000)], entry=PHYSICAL, notes=good + bad)
        assert [n.number for n in parse_notes(data, parse_elf(data))] == [7]


def test_notes_aligned_to_eight_bytes() -> None:
    # gABI: 64-bit objects may align note fields to 8; the program header's alignment tells
    notes = elf_note(b"GNU", 5, b"\1" * 12, step=8) + elf_note(b"Xen", 18, struct.pack("<I", 9), step=8)
    data = bytearray(build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000)], entry=PHYSICAL, notes=notes))
    struct.pack_into("<Q", data, 64 + 56 + 48, 8)
    assert [n.type for n in parse_notes(bytes(data), parse_elf(bytes(data)))] == [5, 18]


def test_a_part_of_a_file_has_its_program_headers() -> None:
    data = build_kernel_elf()
    part = data[:0x200]
    assert parse_elf(part, complete=False).segments == parse_elf(data).segments
    with pytest.raises(ImageError, match="truncated: segment 0"):
        parse_elf(part)
    with pytest.raises(ImageError, match="not an ELF file"):
        parse_elf(b"\x7fEL")


def test_broken_headers_are_named() -> None:
    data = build_elf([(VIRTUAL, PHYSICAL, CODE, 0x1000)], entry=PHYSICAL, sections=[(b".x", 1, b"", 0, 0)])

    def patched(at: int, content: bytes) -> bytes:
        return data[:at] + content + data[at + len(content) :]

    for broken, reason in (
        (patched(4, b"\3"), "class 3"),
        (patched(5, b"\2"), "byte order 2"),
        (patched(56, b"\xff\xff"), "65535 program headers"),
        (patched(54, b"\1\0"), "program headers of 1 bytes"),
        (patched(32, b"\xff" * 7 + b"\0"), "truncated in its program headers"),
        (patched(64 + 40, struct.pack("<Q", 1)), "does not fit"),
        (patched(64 + 8, b"\xff" * 8), "truncated: segment 0"),
        (data[:40], "truncated in its header"),
    ):
        with pytest.raises(ImageError, match=reason):
            parse_elf(broken)
    broken = patched(40, struct.pack("<Q", 1 << 40))
    elf = parse_elf(broken)
    with pytest.raises(ImageError, match="section headers"):
        parse_sections(broken, elf)
