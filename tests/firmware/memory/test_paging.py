"""Page tables, walked by the rules of the Intel SDM (volume 3, 4.5), and who may execute what."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.firmware.calling.status import EfiError
from efishim.firmware.memory.paging import SPLIT_TABLES, WINDOW, PageTables, tables_needed
from efishim.machine.memory import PhysicalMemory

GIB, MIB, PAGE = 1 << 30, 1 << 20, 0x1000
BASE = MIB
NX, WRITABLE = 1 << 63, 2


def tables(top: int = 4 * GIB, *, strict: bool = False) -> tuple[PhysicalMemory, PageTables]:
    memory = PhysicalMemory()
    memory.add(0, 16 * MIB)
    return memory, PageTables(memory, BASE, top, strict=strict)


def walk(memory: PhysicalMemory, root: int, address: int) -> tuple[int, bool, bool] | None:
    """(physical, writable, executable) by four levels, or None when a level is not present."""
    table, writable, executable = root, True, True
    for shift in (39, 30, 21, 12):
        entry = memory.u64(table + 8 * (address >> shift & 511))
        if not entry & 1:
            return None
        writable &= bool(entry & 2)
        executable &= not entry >> 63
        table = entry & 0x000F_FFFF_FFFF_F000
        if shift == 12 or entry & 0x80:
            mask = (1 << shift) - 1
            return (table & ~mask) | (address & mask), writable, executable
    raise AssertionError


@pytest.mark.parametrize("top", [4 * GIB, 5 * GIB, 16 * GIB, 513 * GIB])
def test_an_identity_map_of_everything_without_execution(top: int) -> None:
    memory = PhysicalMemory()
    memory.add(0, 32 * MIB)
    pages = PageTables(memory, BASE, top)
    for address in (0, 0x1234, BASE, 4 * GIB - 1, top - 1, top // 2 + 0x5555):
        assert walk(memory, pages.root, address) == (address, True, False)
    assert walk(memory, pages.root, pages.top) is None
    assert pages.end == BASE + tables_needed(top) * PAGE


def test_a_fetch_opens_a_window() -> None:
    memory, pages = tables()
    assert pages.on_fetch_fault(0x1234567, pages.root)
    start = 0x1234567 & -WINDOW
    for address in (start, 0x1234567, start + WINDOW - 1):
        assert walk(memory, pages.root, address) == (address, True, True)
    for address in (start - 1, start + WINDOW):
        assert walk(memory, pages.root, address) == (address, True, False)
    assert not pages.on_fetch_fault(0x1234567, pages.root), "it is open already: the fault has another cause"


@pytest.mark.parametrize("address", [4 * GIB, 1 << 47, (1 << 64) - 1, -1])
def test_addresses_outside_of_the_map(address: int) -> None:
    assert not tables()[1].on_fetch_fault(address, BASE)


def test_other_tables_are_left_alone() -> None:
    memory, pages = tables()
    other = 8 * MIB
    assert not pages.on_fetch_fault(0x5000, other), "empty tables"
    memory.put_u64(other, (9 * MIB) | 3)
    memory.put_u64(9 * MIB, (10 * MIB) | 3)
    memory.put_u64(10 * MIB, 0x83 | NX)
    assert not pages.on_fetch_fault(0x5000, other), "the kernel's own tables"
    assert walk(memory, pages.root, 0x5000) == (0x5000, True, False)


@pytest.mark.parametrize("levels", [4, 5])
def test_copies_that_lead_here_count(levels: int) -> None:
    """A stub that switches to five levels puts one table on top of the firmware's (efi_setup_5level_paging)."""
    memory, pages = tables()
    other = 8 * MIB
    if levels == 4:
        memory.write(other, memory.read(pages.root, PAGE))
    else:
        memory.put_u64(other, pages.root | 3)
    assert pages.on_fetch_fault(0x5000, other)
    assert walk(memory, pages.root, 0x5000) == (0x5000, True, True)


def test_when_the_tables_are_used_up_whole_pages_open() -> None:
    memory, pages = tables()
    for index in range(SPLIT_TABLES + 3):
        assert pages.on_fetch_fault(index * 2 * MIB + 0x5000, pages.root)
    last = (SPLIT_TABLES + 2) * 2 * MIB
    assert walk(memory, pages.root, last + 0x5000) == (last + 0x5000, True, True)
    assert walk(memory, pages.root, last + MIB) == (last + MIB, True, True)


def test_strict_tables_open_nothing_by_themselves() -> None:
    memory, pages = tables(strict=True)
    assert not pages.on_fetch_fault(0x5000, pages.root)
    pages.allow_execution(0x5000, 0x6000)
    assert walk(memory, pages.root, 0x5000) == (0x5000, False, True), "code is not writable"
    pages.forbid_execution(0x5000, 0x6000)
    assert walk(memory, pages.root, 0x5000) == (0x5000, True, False)


def test_beyond_the_map() -> None:
    _, pages = tables()
    with pytest.raises(EfiError, match="NO_MAPPING"):
        pages.change(pages.top, pages.top + PAGE, put=NX)
    with pytest.raises(EfiError, match="NO_MAPPING"):
        list(pages.pages(pages.top - PAGE, pages.top + PAGE))


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1500), st.integers(1, 1200), st.booleans()), max_size=8))
def test_changes_hit_exactly_their_pages(changes: list[tuple[int, int, bool]]) -> None:
    memory, pages = tables()
    model: dict[int, bool] = {}
    for first, count, allow in changes:
        (pages.allow_execution if allow else pages.forbid_execution)(first * PAGE, (first + count) * PAGE)
        model |= dict.fromkeys(range(first, first + count), allow)
    for page in range(0, 2800, 7):
        assert walk(memory, pages.root, page * PAGE) == (page * PAGE, True, model.get(page, False))
