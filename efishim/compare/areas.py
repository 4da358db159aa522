"""Compares memory maps by address, however they are split into ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from efishim.compare.evidence import Difference
from efishim.compare.facts import ABSENT, Area, Fact, Kind, by_path

MAX_EDGES = 4096
"""More edges than any real memory map has; hostile ones are cut there."""

Maps = Mapping[Fact, tuple[Area, ...]]


def map_differences(left: Maps, right: Maps) -> tuple[list[Difference], int]:
    """Where the maps of two records say different things, and how many pieces are the same."""
    found: list[Difference] = []
    same = 0
    for whole in sorted({*left, *right}, key=by_path):
        one, other = left.get(whole), right.get(whole)
        if one is None or other is None:
            found.append(Difference(whole, _said(one), _said(other)))
            continue
        for start, end, a, b in spans(one, other):
            if a == b:
                same += 1
            else:
                found.append(Difference(piece(whole, start, end), a, b))
    return found, same


def piece(whole: Fact, start: int, end: int) -> Fact:
    """A range of a memory map."""
    return Fact(whole.side, whole.stage, whole.subject, (*whole.field, f"{start:#x}-{end:#x}"), Kind.RANGE)


def _said(areas: tuple[Area, ...] | None) -> str:
    return ABSENT if areas is None else f"{len(areas)} ranges"


def spans(one: Sequence[Area], other: Sequence[Area]) -> Iterator[tuple[int, int, str, str]]:
    """The coarsest pieces on which both maps are constant and something is said; overlaps are joined with `+`."""
    edges = sorted({edge for area in (*one, *other) for edge in (area.start, area.end)})[:MAX_EDGES]
    last: tuple[int, int, str, str] | None = None
    for start, end in pairwise(edges):
        a, b = _kind(one, start), _kind(other, start)
        if last is not None and last[1] == start and last[2:] == (a, b):
            last = (last[0], end, a, b)
            continue
        if last is not None and (last[2] or last[3]):
            yield last
        last = (start, end, a, b)
    if last is not None and (last[2] or last[3]):
        yield last


def _kind(areas: Sequence[Area], at: int) -> str:
    return "+".join(area.label for area in areas if area.start <= at < area.end)
