"""Where the firmware lives, and what it makes of memory maps that others wrote."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.errors import ProviderError
from efishim.firmware.memory.memory_map import MemoryMap, MemoryType
from efishim.firmware.memory.placement import build_map, place, sort_out
from efishim.machine.memory import PhysicalMemory
from efishim.wire.uefi import EFI_MEMORY_RUNTIME

MIB, GIB, PAGE = 1 << 20, 1 << 30, 0x1000
PC = ((0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0xF0000, 0x10000, 2), (MIB, 511 * MIB, 1), (0xFEC00000, 0x1000, 2))


def memory(size: int) -> PhysicalMemory:
    found = PhysicalMemory()
    found.add(0, size)
    return found


def built(regions: tuple[tuple[int, int, int], ...], size: int = 512 * MIB) -> MemoryMap:
    return build_map(memory(size), regions)


def test_a_pc() -> None:
    memory_map = built(PC)
    place(memory_map)
    shown = [(d.start, d.end, int(d.type)) for d in memory_map.descriptors()]
    assert shown[:5] == [
        (0, PAGE, 3),
        (PAGE, 0x9F000, 7),
        (0x9F000, 0xA0000, 0),
        (0xF0000, 0x100000, 0),
        (MIB, shown[4][1], 7),
    ], "partial pages of RAM are lost, reserved ones grow"
    assert shown[4][1] > 480 * MIB, "one free range from 1 MiB up to the firmware"
    own = [(kind, (end - start) // PAGE) for start, end, kind in shown[5:]]
    assert own[:5] == [(6, 256), (5, 256), (0, 128), (9, 18), (10, 128)], "bins in the order and size of OVMF"
    assert own[-1] == (0, 1), "the I/O APIC"
    assert shown[-2][1] == 512 * MIB


def test_runtime_attributes() -> None:
    memory_map = built(PC)
    place(memory_map)
    for d in memory_map.descriptors():
        assert bool(d.attributes & EFI_MEMORY_RUNTIME) == (d.type in (5, 6))
        backed = d.start < 512 * MIB
        assert d.attributes & 0xF == (0xF if backed else 1), "memory can be cached, a device cannot"


def test_runtime_devices() -> None:
    memory_map = build_map(memory(512 * MIB), PC, [(0xFFC00000, 4 * MIB)])
    flash = memory_map.find(0xFFC00000)
    assert flash is not None
    assert (flash.type, flash.attributes) == (MemoryType.MMIO, EFI_MEMORY_RUNTIME | 1)


def test_memory_above_4_gib_is_mapped_but_not_the_firmware_s_place() -> None:
    memory_map = built(((0, 2 * GIB, 1), (4 * GIB, 2 * GIB, 1)), 6 * GIB)
    found = place(memory_map)
    assert found.mapped == 6 * GIB
    assert found.stack_top == 2 * GIB


def test_kept_memory_wins_over_free_memory() -> None:
    assert sort_out([(0, 16 * PAGE, 1), (4 * PAGE, 2 * PAGE, 2), (5 * PAGE, PAGE, 3)]) == [
        (0, 4 * PAGE, 7),
        (4 * PAGE, 5 * PAGE, 0),
        (5 * PAGE, 6 * PAGE, 9),
        (6 * PAGE, 16 * PAGE, 7),
    ]


def test_unknown_types_are_reserved() -> None:
    assert sort_out([(0, PAGE, 0), (PAGE, PAGE, 99)]) == [(0, 2 * PAGE, 0)]


@pytest.mark.parametrize("regions", [(), ((0, MIB, 1),), ((0, 512 * MIB, 2),), ((5 * GIB, GIB, 1),), ((0, 0, 1),)])
def test_no_room(regions: tuple[tuple[int, int, int], ...]) -> None:
    with pytest.raises(ProviderError, match="free memory below 4 GiB"):
        place(built(regions))


def test_too_many_regions() -> None:
    with pytest.raises(ProviderError, match="regions"):
        sort_out([(n * 2 * PAGE, PAGE, 1) for n in range(2000)])


region = st.tuples(st.integers(0, 40 * PAGE), st.integers(0, 12 * PAGE), st.integers(0, 8))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.lists(region, max_size=12))
def test_any_list_becomes_a_map(regions: list[tuple[int, int, int]]) -> None:
    kinds = {1: 7, 2: 0, 3: 9, 4: 10, 5: 8, 7: 14}
    found = sort_out(regions)
    ends = [0, *(end for _, end, _ in found)]
    assert all(before <= start < end for before, (start, end, _) in zip(ends, found, strict=False)), "sorted, disjoint"
    for page in range(55):
        low, high = page * PAGE, page * PAGE + PAGE
        kept = [
            kinds.get(kind, 0)
            for start, size, kind in regions
            if size and kind != 1 and start < high and start // PAGE * PAGE < high and low < start + size
        ]
        free = any(kind == 1 and start <= low and high <= start + size for start, size, kind in regions)
        shown = next((int(kind) for start, end, kind in found if start <= low < end), None)
        assert shown == (max(kept) if kept else 7 if free else None)


def test_what_a_loader_has_placed_is_loader_data() -> None:
    """Page granular; what lies in memory that somebody keeps stays what it is; the firmware keeps off."""
    top = 512 * MIB
    reserved = [(0x90000, 0x10001), (16 * MIB + 5, 10), (16 * MIB + 0x800, PAGE), (top - 3 * PAGE, 3 * PAGE), (1 << 40, PAGE)]
    memory_map = build_map(memory(top), PC, reserved=reserved)
    found = place(memory_map)
    loader = [(d.start, d.end) for d in memory_map.descriptors() if d.type == MemoryType.LOADER_DATA]
    assert loader == [(0x90000, 0x9F000), (16 * MIB, 16 * MIB + 2 * PAGE), (top - 3 * PAGE, top)]
    assert found.stack_top == top - 3 * PAGE
    bios = memory_map.find(0x9F000)
    assert bios is not None
    assert bios.type == MemoryType.RESERVED


def test_loader_data_can_be_freed() -> None:
    memory_map = build_map(memory(512 * MIB), PC, reserved=[(16 * MIB, 4 * PAGE)])
    memory_map.free(16 * MIB, 4)
    again = memory_map.find(16 * MIB)
    assert again is not None
    assert again.type == MemoryType.CONVENTIONAL


@pytest.mark.parametrize("nothing", [(16 * MIB, 0), (16 * MIB, -PAGE), (-PAGE, PAGE), (-(1 << 70), 1 << 71)])
def test_ranges_that_are_none(nothing: tuple[int, int]) -> None:
    memory_map = build_map(memory(512 * MIB), PC, reserved=[nothing])
    assert all(d.type != MemoryType.LOADER_DATA for d in memory_map.descriptors())
