"""Presentation of the classes of differences: a colour, a symbol and a word, none of which is needed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from efishim.compare.facts import Fact
from efishim.compare.model import Comparison, PairView
from efishim.compare.rules import Class


@dataclass(frozen=True, slots=True)
class Mark:
    """How a class looks. `css` is the name of a class in style.css."""

    css: str
    symbol: str
    word: str


MARKS: Mapping[str, Mark] = {
    Class.IDENTICAL.value: Mark("same", "=", "identical"),
    Class.PLACEMENT.value: Mark("place", "↔", "placement"),
    Class.BY_DESIGN.value: Mark("design", "✓", "by design"),
    Class.UNEXPLAINED.value: Mark("odd", "!", "unexplained"),
}
"""By the name of the class, in the order of a legend."""

REFERENCE = Mark("ref", "", "reference")


def classes(pair: PairView) -> dict[Fact, str]:
    """The class of each fact in which a pair differs, also of the later stages at which it does."""
    found: dict[Fact, str] = {}
    for kind, differences in (
        *((group.kind, group.differences) for group in pair.groups),
        (Class.UNEXPLAINED.value, pair.unexplained),
    ):
        for one in differences:
            found.update((fact, kind) for fact in (one.fact, *one.also))
    return found


def counts(pair: PairView) -> dict[str, int]:
    """Facts of a pair by class, all classes."""
    numbers = dict.fromkeys(MARKS, 0)
    numbers[Class.IDENTICAL.value] = pair.identical
    numbers[Class.UNEXPLAINED.value] = len(pair.unexplained)
    for group in pair.groups:
        numbers[group.kind] += len(group.differences)
    return numbers


def pair_of(comparison: Comparison, name: str) -> PairView | None:
    """The pair of the reference and another run."""
    return next((pair for pair in comparison.pairs if pair.right == name), None)
