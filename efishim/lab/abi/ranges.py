"""Ranges of physical memory as [start, end) pairs, and whether they are in RAM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

Range = tuple[int, int]
"""First address, and first address after."""


def overlap(one: Range, two: Range) -> bool:
    """Do two ranges have an address in common? Empty ones have none."""
    return max(one[0], two[0]) < min(one[1], two[1])


def overlaps(ranges: Iterable[Range]) -> Iterator[tuple[Range, Range]]:
    """Neighbours that overlap: at least one pair if any two ranges do."""
    for before, after in pairwise(sorted(one for one in ranges if one[0] < one[1])):
        if overlap(before, after):
            yield before, after


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same addresses in as few ranges as possible, in order."""
    out: list[Range] = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], end)
        elif start < end:
            out.append((start, end))
    return out


def holds(ranges: Iterable[Range], one: Range) -> bool:
    """Do the ranges together hold all of this one?"""
    return one[0] >= one[1] or any(start <= one[0] and one[1] <= end for start, end in merged(ranges))


def named(one: Range) -> str:
    """A range in a sentence."""
    return f"[{one[0]:#x}, {one[1]:#x})"
