"""Who answers on a bus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.errors import MachineError
from efishim.machine.bus import Bus
from efishim.machine.selftest.bench import Cells


class Echo:
    """Says what it was asked."""

    def __init__(self) -> None:
        self.written: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        return offset << 32 | offset * 16 + size

    def write(self, offset: int, size: int, value: int) -> None:
        self.written.append((offset, size, value))


def test_offsets_are_relative_and_values_have_the_size_asked_for() -> None:
    bus, echo = Bus("port", 0x10000), Echo()
    bus.attach(0x3F8, 8, echo, "uart")
    assert bus.read(0x3F8, 1) == 1
    assert bus.read(0x3FF, 1) == 0x71
    assert bus.read(0x3FC, 4) == 0x44, "the upper bits are cut"
    assert bus.read(0x3FC, 8) == 4 << 32 | 0x48
    bus.write(0x3FA, 2, 0xABCD)
    assert echo.written == [(2, 2, 0xABCD)]


@pytest.mark.parametrize(("size", "value"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFF_FFFF), (8, 0xFFFF_FFFF_FFFF_FFFF)])
def test_an_empty_address_reads_all_ones(size: int, value: int) -> None:
    bus = Bus("port", 0x10000)
    bus.attach(0x100, 4, Cells(4), "something")
    assert bus.read(0x104, size) == value
    assert bus.read(0xFF, size) == value
    bus.write(0x104, size, 0)


@pytest.mark.parametrize(("start", "size"), [(-1, 4), (0xFFFE, 4), (0, 0), (0, -1), (0x10000, 1)])
def test_outside_of_the_bus(start: int, size: int) -> None:
    with pytest.raises(MachineError, match="outside the port bus"):
        Bus("port", 0x10000).attach(start, size, Echo(), "device")


def test_conflicts_name_both() -> None:
    bus = Bus("mmio", 1 << 40)
    bus.attach(0xFEC00000, 0x1000, Echo(), "I/O APIC")
    with pytest.raises(MachineError, match="HPET and I/O APIC both claim"):
        bus.attach(0xFEC00FFF, 2, Echo(), "HPET")
    bus.attach(0xFEC01000, 1, Echo(), "behind")
    bus.attach(0xFEBFFFFF, 1, Echo(), "before")
    assert [each.name for each in bus.attachments] == ["before", "I/O APIC", "behind"]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 20)), max_size=20), st.integers(0, 230))
def test_find_is_a_search_through_all(ranges: list[tuple[int, int]], address: int) -> None:
    bus = Bus("port", 0x10000)
    taken: list[tuple[int, int]] = []
    for start, size in ranges:
        free = all(start >= s + n or s >= start + size for s, n in taken)
        try:
            bus.attach(start, size, Echo(), f"{start}")
        except MachineError:
            assert not free
        else:
            assert free
            taken.append((start, size))
    expected = [start for start, size in taken if start <= address < start + size]
    found = bus.find(address)
    assert ([found.start] if found else []) == expected
