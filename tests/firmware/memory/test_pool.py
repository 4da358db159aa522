"""The pool: pieces never overlap, everything comes back, misuse is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.firmware.calling.status import EfiError
from efishim.firmware.memory import pool as pool_module
from efishim.firmware.memory.memory_map import MemoryMap
from efishim.firmware.memory.pool import Pool

PAGE = 0x1000


def fresh() -> tuple[MemoryMap, Pool]:
    memory_map = MemoryMap()
    memory_map.add(0x10000, 0x10000 + 256 * PAGE, 7)
    return memory_map, Pool(memory_map)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([2, 4, 6, 9]), st.integers(0, 9000), st.integers(0, 5)), max_size=40))
def test_histories(steps: list[tuple[int, int, int]]) -> None:
    memory_map, pool = fresh()
    empty = memory_map.descriptors()
    live: dict[int, tuple[int, int]] = {}
    for kind, size, drop in steps:
        address = pool.allocate(kind, size)
        assert address % 8 == 0
        assert all(address + size <= a or a + s <= address for a, (s, _) in live.items()), "pieces overlap"
        for page in range(address // PAGE, (address + max(size, 1) - 1) // PAGE + 1):
            found = memory_map.find(page * PAGE)
            assert found is not None
            assert found.type == kind
        live[address] = (size, kind)
        if drop == 0:
            victim = min(live)
            pool.free(victim)
            del live[victim]
    for address in sorted(live):
        pool.free(address)
    assert memory_map.descriptors() == empty, "pages stayed behind"


def test_what_is_not_a_live_piece() -> None:
    _, pool = fresh()
    address = pool.allocate(2, 100)
    for wrong in (0, address + 8, address - 0x18, 0xDEAD0000):
        with pytest.raises(EfiError, match="INVALID_PARAMETER"):
            pool.free(wrong)
    pool.free(address)
    with pytest.raises(EfiError, match="INVALID_PARAMETER"):
        pool.free(address)


@pytest.mark.parametrize("kind", [7, 14, 15, 16, 0x6FFFFFFF])
def test_refused_types(kind: int) -> None:
    with pytest.raises(EfiError, match="INVALID_PARAMETER"):
        fresh()[1].allocate(kind, 10)


@pytest.mark.parametrize("size", [257 * PAGE, 1 << 40, (1 << 64) - 1])
def test_sizes_that_do_not_fit(size: int) -> None:
    with pytest.raises(EfiError, match="OUT_OF_RESOURCES"):
        fresh()[1].allocate(2, size)


def test_a_bound_on_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "LIVE_LIMIT", 3)
    _, pool = fresh()
    for _ in range(3):
        pool.allocate(2, 1)
    with pytest.raises(EfiError, match="OUT_OF_RESOURCES"):
        pool.allocate(2, 1)


def test_a_size_of_zero_is_a_buffer_too() -> None:
    """EDK II gives one; programs free it later."""
    _, pool = fresh()
    pool.free(pool.allocate(2, 0))
