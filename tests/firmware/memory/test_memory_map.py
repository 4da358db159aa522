"""The page allocator: random histories against a plain model, and the placement rules of EDK II."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from efishim.firmware.calling.status import EfiError, Status
from efishim.firmware.memory.memory_map import MemoryMap, MemoryType
from efishim.wire.uefi import EFI_MEMORY_RUNTIME

PAGE = 0x1000
PAGES = 96
ANY, MAX, ADDRESS = 0, 1, 2
KINDS = [0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 0x70000000, 0x80000001]


class Histories(RuleBasedStateMachine):
    """The model is a dictionary from page to type. Conventional memory is 7; page 40 is a hole, 50 was reserved."""

    @initialize()
    def build(self) -> None:
        self.map = MemoryMap()
        self.map.add(0, 40 * PAGE, 7)
        self.map.add(41 * PAGE, 50 * PAGE, 7)
        self.map.add(50 * PAGE, 51 * PAGE, 0)
        self.map.add(51 * PAGE, PAGES * PAGE, 7)
        self.model = {page: 7 for page in range(PAGES) if page != 40}
        self.model[50] = 0
        self.keys: list[int] = [self.map.key]

    @rule(kind=st.sampled_from(KINDS), count=st.integers(1, 30), limit=st.integers(0, PAGES * PAGE + 7))
    def below(self, kind: int, count: int, limit: int) -> None:
        free = [p for p in range(PAGES) if self._free(p, count) and (p + count) * PAGE - 1 <= limit]
        if not free:
            with pytest.raises(EfiError, match="OUT_OF_RESOURCES"):
                self.map.allocate(MAX, kind, count, limit)
            return
        address = self.map.allocate(MAX, kind, count, limit)
        assert address == max(free) * PAGE
        self._set(address // PAGE, count, kind)

    @rule(kind=st.sampled_from(KINDS), count=st.integers(1, 30))
    def anywhere(self, kind: int, count: int) -> None:
        free = [p for p in range(PAGES) if self._free(p, count)]
        if not free:
            with pytest.raises(EfiError, match="OUT_OF_RESOURCES"):
                self.map.allocate(ANY, kind, count)
            return
        self._set(self.map.allocate(ANY, kind, count) // PAGE, count, kind)
        assert self._gained(max(free), count, kind)

    @rule(kind=st.sampled_from(KINDS), page=st.integers(0, PAGES + 2), count=st.integers(1, 30))
    def at(self, kind: int, page: int, count: int) -> None:
        if not self._free(page, count):
            with pytest.raises(EfiError, match="NOT_FOUND"):
                self.map.allocate(ADDRESS, kind, count, page * PAGE)
            return
        assert self.map.allocate(ADDRESS, kind, count, page * PAGE) == page * PAGE
        self._set(page, count, kind)

    @rule(page=st.integers(0, PAGES + 2), count=st.integers(1, 30))
    def free(self, page: int, count: int) -> None:
        pages = range(page, page + count)
        if any(self.model.get(p, 7) == 7 or p == 50 for p in pages):
            with pytest.raises(EfiError, match="NOT_FOUND"):
                self.map.free(page * PAGE, count)
            return
        self.map.free(page * PAGE, count)
        self._set(page, count, 7)

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "map"):
            return
        seen: dict[int, int] = {}
        descriptors = self.map.descriptors()
        for d in descriptors:
            assert d.pages > 0
            for page in range(d.start // PAGE, d.end // PAGE):
                assert page not in seen, "overlap"
                seen[page] = d.type
            assert bool(d.attributes & EFI_MEMORY_RUNTIME) == (d.type in (5, 6))
        assert seen == self.model
        assert [d.start for d in descriptors] == sorted(d.start for d in descriptors)
        assert not any(a.end == b.start and a.type == b.type for a, b in pairwise(descriptors)), "not coalesced"

    def _free(self, page: int, count: int) -> bool:
        return all(self.model.get(p) == 7 for p in range(page, page + count))

    def _gained(self, page: int, count: int, kind: int) -> bool:
        return all(self.model[p] == kind for p in range(page, page + count))

    def _set(self, page: int, count: int, kind: int) -> None:
        for p in range(page, page + count):
            assert p in self.model
            self.model[p] = kind
        assert self.map.key not in self.keys, "a MapKey came twice"
        self.keys.append(self.map.key)


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestHistories = Histories.TestCase


def simple() -> MemoryMap:
    memory_map = MemoryMap()
    memory_map.add(0, 64 * PAGE, 7)
    memory_map.add(1 << 32, (1 << 32) + 64 * PAGE, 7)
    return memory_map


@pytest.mark.parametrize("kind", [7, 14, 15, 16, 0x6FFFFFFF])
@pytest.mark.parametrize("how", [ANY, MAX, ADDRESS])
def test_types_that_nobody_may_allocate(how: int, kind: int) -> None:
    with pytest.raises(EfiError) as caught:
        simple().allocate(how, kind, 1, 0x5000)
    assert caught.value.status is Status.INVALID_PARAMETER


def test_unknown_way_of_allocating() -> None:
    with pytest.raises(EfiError, match="INVALID_PARAMETER"):
        simple().allocate(3, 2, 1, 0x5000)


@pytest.mark.parametrize("pages", [0, 1 << 51, 1 << 52, (1 << 64) - 1])
def test_numbers_of_pages_that_cannot_be(pages: int) -> None:
    with pytest.raises(EfiError, match="OUT_OF_RESOURCES"):
        simple().allocate(ANY, 2, pages)
    with pytest.raises(EfiError, match="NOT_FOUND"):
        simple().allocate(ADDRESS, 2, pages, 0x5000)


@pytest.mark.parametrize(("address", "pages"), [(0x5001, 1), (0x5000, 0), (0x5000, 1 << 52)])
def test_crooked_frees(address: int, pages: int) -> None:
    memory_map = simple()
    memory_map.allocate(ADDRESS, 2, 2, 0x5000)
    with pytest.raises(EfiError, match="INVALID_PARAMETER"):
        memory_map.free(address, pages)


def test_max_address_is_the_last_byte() -> None:
    """7.2.1: the uppermost address of the range is less than or equal to the given one."""
    assert simple().allocate(MAX, 2, 1, 0x3FFF) == 0x3000
    assert simple().allocate(MAX, 2, 1, 0x3FFE) == 0x2000


def test_bins_first_then_below_them_then_anywhere() -> None:
    memory_map = simple()
    memory_map.keep_bin(MemoryType.RUNTIME_SERVICES_DATA, 32 * PAGE, 34 * PAGE)
    assert memory_map.allocate(ANY, 6, 1) == 33 * PAGE, "its own bin"
    assert memory_map.allocate(ANY, 2, 1) == 31 * PAGE, "below all bins although there is memory above 4 GiB"
    assert memory_map.allocate(ANY, 2, 40) == (1 << 32) + 24 * PAGE, "anywhere, when nothing else has room"
    assert memory_map.allocate(ANY, 6, 2) == 29 * PAGE, "outside of a bin that is too full"
    assert memory_map.allocate(ADDRESS, 2, 1, 32 * PAGE) == 32 * PAGE, "a bin does not keep out who names the address"


def test_free_memory_of_a_bin_is_shown_as_its_type() -> None:
    memory_map = simple()
    memory_map.keep_bin(MemoryType.RUNTIME_SERVICES_CODE, 32 * PAGE, 34 * PAGE)
    shown = [
        (d.start // PAGE, d.end // PAGE, d.type, bool(d.attributes & EFI_MEMORY_RUNTIME)) for d in memory_map.descriptors()
    ]
    assert shown[:3] == [(0, 32, 7, False), (32, 34, 5, True), (34, 64, 7, False)]
    before = memory_map.descriptors()
    memory_map.allocate(ANY, 5, 1)
    assert memory_map.descriptors() == before, "an allocation inside the bin does not show"


def test_what_the_firmware_took_is_not_freed() -> None:
    memory_map = simple()
    memory_map.fix(0x5000, 0x7000, 4)
    with pytest.raises(EfiError, match="NOT_FOUND"):
        memory_map.free(0x5000, 1)


@pytest.mark.parametrize(("start", "end"), [(0x100, 0x1000), (0x1000, 0x1000), (63 * PAGE, 65 * PAGE), (-PAGE, PAGE)])
def test_regions_that_do_not_fit(start: int, end: int) -> None:
    with pytest.raises(ValueError, match="0x"):
        simple().add(start, end, 7)


def test_changes_are_announced() -> None:
    memory_map = simple()
    told: list[int] = []
    memory_map.on_change = lambda: told.append(memory_map.key)
    address = memory_map.allocate(ANY, 2, 1)
    memory_map.free(address, 1)
    assert len(told) == 2
