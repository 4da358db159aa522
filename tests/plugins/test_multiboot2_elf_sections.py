"""The ELF_SECTIONS tag: every section of the file has an address and its bytes there, whatever the segments load."""

from __future__ import annotations

import struct

import pytest
from efishim_plugins.multiboot2 import elf_sections

from efishim.errors import ProviderError
from efishim.provider import Arena, MemoryKind, MemoryRange
from efishim.testing import Ram
from tests.support.images import build_elf

SYMBOLS = bytes(16) + struct.pack("<IIIBBH", 1, 0x10_0000, 4, 0x12, 0, 1)
SECTIONS = [(b".symtab", 2, SYMBOLS, 2, 16), (b".strtab", 3, b"\0_start\0", 0, 0), (b".empty", 1, b"", 0, 0)]


def arena(end: int = 0x80_0000) -> Arena:
    return Arena((MemoryRange(0x20_0000, end - 0x20_0000, MemoryKind.RAM),))


def elf(*, wide: bool = False, **changes: object) -> bytes:
    segments = [(0x10_0000, 0x10_0000, b"\x90" * 64, 64)]
    return build_elf(segments, entry=0x10_0000, wide=wide, machine=62 if wide else 3, sections=SECTIONS, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("wide", [False, True])
def test_every_section_is_in_memory(*, wide: bool) -> None:
    memory = Ram()
    (tag,) = elf_sections.tag(elf(wide=wide), memory, arena())
    kind, size, count, step, names = struct.unpack_from("<5I", tag)
    assert (kind, size, count, step, names) == (9, len(tag), 5, 64 if wide else 40, 4)
    rows = [tag[20 + number * step :][:step] for number in range(count)]
    assert not any(rows[0])
    for row, (_, number, content, *_) in zip(rows[1:], SECTIONS, strict=False):
        address, _, length = struct.unpack_from("<3Q" if wide else "<3I", row, 16 if wide else 12)
        assert struct.unpack_from("<I", row, 4) == (number,)
        assert length == len(content)
        assert bool(address) == bool(content), "an empty section lies nowhere"
        assert memory.read(address, length) == content if content else True


def test_a_section_that_a_segment_loads_stays_where_it_is() -> None:
    data = bytearray(elf())
    table = struct.unpack_from("<I", data, 32)[0]
    struct.pack_into("<I", data, table + 40 + 12, 0xC010_0000)
    (tag,) = elf_sections.tag(bytes(data), Ram(), arena())
    assert struct.unpack_from("<I", tag, 20 + 40 + 12) == (0xC010_0000,)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"MZ" + bytes(100), elf()[:-1]])
def test_a_file_without_sections_has_no_tag(data: bytes) -> None:
    assert elf_sections.tag(data.ljust(len(data) and 64, b"\0"), Ram(), arena()) == []


def test_a_section_without_room_is_told() -> None:
    with pytest.raises(ProviderError, match="no room for a section of the ELF file"):
        elf_sections.tag(elf(), Ram(), arena(0x20_0008))
