"""The BIOS's memory map: everything the platform has, once, less what the BIOS keeps."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.bios.memory import below_and_above_16m, carve, ebda_address, extended_kib, ram_from
from efishim.errors import MachineError
from efishim.memory_range import MemoryKind, MemoryRange
from efishim.platform.definition import GIB, MIB

RAM, RESERVED, ACPI = MemoryKind.RAM, MemoryKind.RESERVED, MemoryKind.ACPI_RECLAIMABLE


def ram_map(*ranges: tuple[int, int]) -> tuple[MemoryRange, ...]:
    return tuple(MemoryRange(start, end - start, RAM) for start, end in ranges)


def pc(end: int) -> tuple[MemoryRange, ...]:
    return ram_map((0, 0xA0000), (MIB, end))


def rows(pieces: tuple[MemoryRange, ...]) -> list[tuple[int, int, int]]:
    return [(piece.start, piece.size, piece.kind.value) for piece in pieces]


def test_the_low_part_is_what_seabios_tells_on_a_pc() -> None:
    # The first three rows of the E820 map of every oracle dump made with SeaBIOS.
    assert rows(carve(pc(512 * MIB)))[:3] == [(0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0xF0000, 0x10000, 2)]


def test_what_the_platform_says_of_the_rom_is_told_once() -> None:
    with_area = (*pc(32 * MIB)[:1], MemoryRange(0xF0000, 0x10000, RESERVED, "BIOS"), pc(32 * MIB)[1])
    assert carve(with_area) == carve(pc(32 * MIB))


def test_memory_without_a_hole_below_1_mib() -> None:
    assert rows(carve(ram_map((0, 64 * MIB)))) == [
        (0, 0x9FC00, 1),
        (0x9FC00, 0x400, 2),
        (0xA0000, 0x50000, 1),
        (0xF0000, 0x10000, 2),
        (MIB, 63 * MIB, 1),
    ]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 64), st.integers(1, 64), st.sampled_from(MemoryKind)), max_size=6))
def test_nothing_is_lost_and_nothing_told_twice(parts: list[tuple[int, int, MemoryKind]]) -> None:
    pieces, position = [MemoryRange(0, 0x20000, RAM)], 0x20000
    for gap, pages, kind in parts:
        start = position + gap * 4096 * 5
        pieces.append(MemoryRange(start, pages * 4096, kind))
        position = start + pages * 4096
    told = carve(pieces)
    assert all(one.end <= two.start for one, two in pairwise(told))
    ebda = ebda_address(pieces)
    own = [range(ebda, ebda + 0x400), range(0xF0000, 0x100000)]
    for address in {edge for piece in (*pieces, *told) for edge in (piece.start, piece.end - 1, piece.end)}:
        mine = any(address in part for part in own)
        before = next((piece.kind for piece in pieces if piece.start <= address < piece.end), None)
        after = next((piece.kind for piece in told if piece.start <= address < piece.end), None)
        assert after is (RESERVED if mine else before), hex(address)


@pytest.mark.parametrize("memory", [(), ram_map((MIB, 32 * MIB)), ram_map((0, 0x8000)), (MemoryRange(0, MIB, RESERVED),)])
def test_no_memory_to_work_with(memory: tuple[MemoryRange, ...]) -> None:
    with pytest.raises(MachineError, match="address 0"):
        ebda_address(memory)


def test_contiguous_ram() -> None:
    memory = (MemoryRange(0, 0xA0000, RAM), MemoryRange(MIB, MIB, RAM), MemoryRange(2 * MIB, MIB, RAM))
    assert ram_from(memory, MIB, GIB) == 2 * MIB
    assert ram_from(memory, MIB, 2 * MIB) == MIB
    assert ram_from(memory, 0xA0000, GIB) == 0
    assert ram_from((MemoryRange(MIB, MIB, ACPI),), MIB, GIB) == 0


@pytest.mark.parametrize(
    ("end", "kib"),
    # SeaBIOS on QEMU: 0x3c00 with 16 MiB, 0xfc00 (63 MiB) with more than 64 MiB.
    [(16 * MIB, 0x3C00), (64 * MIB, 0xFC00), (65 * MIB, 0xFC00), (3 * GIB, 0xFC00), (2 * MIB, 0x400)],
)
def test_extended_memory(end: int, kib: int) -> None:
    assert extended_kib(pc(end)) == kib


@pytest.mark.parametrize(
    ("end", "low", "high"),
    [(16 * MIB, 0x3C00, 0), (8 * MIB, 0x1C00, 0), (0x1FFE0000, 0x3C00, 0x1EFE), (3 * GIB, 0x3C00, 0xBF00)],
)
def test_two_sizes(end: int, low: int, high: int) -> None:
    # 0x1ffe0000 is where RAM ends on QEMU with 512 MiB; the figures are those of SeaBIOS there.
    assert below_and_above_16m(pc(end)) == (low, high)


def test_a_hole_at_15_mib_hides_what_is_above() -> None:
    assert below_and_above_16m(ram_map((0, 0xA0000), (MIB, 15 * MIB), (16 * MIB, 32 * MIB))) == (0x3800, 0)
