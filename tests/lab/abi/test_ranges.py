"""Ranges of memory: what overlaps, and what holds what."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.lab.abi.ranges import Range, holds, merged, overlap, overlaps

RANGE = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (pair[0], pair[0] + pair[1]))


def addresses(ranges: list[Range]) -> set[int]:
    return {at for start, end in ranges for at in range(start, end)}


@pytest.mark.slow
@given(st.lists(RANGE, max_size=6))
def test_merged_ranges_have_the_same_addresses_and_do_not_touch(ranges: list[Range]) -> None:
    found = merged(ranges)
    assert addresses(found) == addresses(ranges)
    assert all(before[1] < after[0] for before, after in pairwise(found))


@given(st.lists(RANGE, max_size=6))
def test_a_pair_is_found_if_and_only_if_two_overlap(ranges: list[Range]) -> None:
    shared = len(addresses(ranges)) < sum(end - start for start, end in ranges)
    assert bool(list(overlaps(ranges))) == shared
    assert all(overlap(*pair) for pair in overlaps(ranges))


@given(st.lists(RANGE, max_size=4), RANGE)
def test_what_ranges_hold_together(ranges: list[Range], one: Range) -> None:
    assert holds(ranges, one) == (addresses([one]) <= addresses(ranges))


@pytest.mark.parametrize(("one", "two"), [((0, 10), (10, 20)), ((5, 5), (0, 10))])
def test_neighbours_and_empty_ranges_do_not_overlap(one: Range, two: Range) -> None:
    assert not overlap(one, two)
    assert not overlap(two, one)
