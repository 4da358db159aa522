"""Memory maps as areas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.compare.areas import map_differences, spans
from efishim.compare.facts import Area
from efishim.compare.inputs import MACHINE_MEMORY as MAP

KINDS = ("RAM", "RESERVED", "ACPI")


def test_how_a_map_is_cut_makes_no_difference() -> None:
    whole = (Area(0, 0x3000, "RAM"),)
    pieces = (Area(0, 0x1000, "RAM"), Area(0x1000, 0x3000, "RAM"))
    assert map_differences({MAP: whole}, {MAP: pieces}) == ([], 1)


def test_the_area_that_differs_is_named() -> None:
    found, _ = map_differences({MAP: (Area(0, 0x3000, "RAM"),)}, {MAP: (Area(0, 0x1000, "RAM"), Area(0x2000, 0x3000, "RAM"))})
    assert [(one.path, one.left, one.right) for one in found] == [("machine.memory[0x1000-0x2000]", "RAM", "")]


def test_a_map_that_one_side_has_not() -> None:
    found, _ = map_differences({MAP: (Area(0, 1, "RAM"),)}, {})
    assert [(one.path, one.left, one.right) for one in found] == [("machine.memory", "1 ranges", "")]


def test_overlaps_are_shown() -> None:
    found, _ = map_differences({MAP: (Area(0, 2, "RAM"),)}, {MAP: (Area(0, 2, "RAM"), Area(1, 2, "RESERVED"))})
    assert [(one.path, one.right) for one in found] == [("machine.memory[0x1-0x2]", "RAM+RESERVED")]


maps = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 10), st.sampled_from(KINDS)).map(lambda t: Area(t[0], t[0] + t[1], t[2])),
    max_size=6,
).map(tuple)


def kind(areas: tuple[Area, ...], at: int) -> str:
    return "+".join(area.kind for area in areas if area.start <= at < area.end)


@pytest.mark.slow
@given(maps, maps)
def test_every_byte_is_told_as_the_maps_tell_it(one: tuple[Area, ...], other: tuple[Area, ...]) -> None:
    """Against the definition, byte by byte."""
    said = {at: (a, b) for start, end, a, b in spans(one, other) for at in range(start, end)}
    for at in range(60):
        assert said.get(at, ("", "")) == (kind(one, at), kind(other, at))
