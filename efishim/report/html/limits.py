"""Limits on what is shown. Whatever is cut is counted in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

SIZE_LIMIT = 3_000_000
"""Bytes that the whole file stays under."""

SMALLEST = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """Most rows of each kind."""

    matrix: int = 1500
    differences: int = 200
    """Of one group of one pair."""
    unexplained: int = 400
    """Of one pair."""
    calls: int = 400
    """Of one run, in the order of the run."""
    functions: int = 1200
    things: int = 400
    """Of one group of the ledger."""
    fields: int = 400
    """Of one structure."""
    structures: int = 100
    ranges: int = 200
    """Of one memory map."""
    names: int = 200
    """Of a list inside of a sentence."""
    notes: int = 100

    def halved(self) -> Limits:
        """Half of everything, for a comparison that would become too large."""
        return Limits(*(max(SMALLEST, number // 2) for number in astuple(self)))


@dataclass(frozen=True, slots=True)
class Cut(Generic[T]):
    """The beginning of a list, and how much of it is not shown."""

    shown: tuple[T, ...]
    more: int

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.shown) + self.more


def cut(items: Sequence[T], most: int) -> Cut[T]:
    """The first `most` of them."""
    return Cut(tuple(items[:most]), max(0, len(items) - most))
