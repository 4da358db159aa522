"""Holds rules against the counter-cases that they carry: differences put into two runs, which no rule may explain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from efishim.compare.evidence import Difference, Ground, Seen, Shown
from efishim.compare.facts import Area, Fact, Side, fact_at
from efishim.compare.predicates.memory import piece_of, whole_of
from efishim.compare.rules import CounterCase, Judge, Rule, Traits, Verdict


def tried(
    rules: Sequence[Rule], rule: Rule, case: CounterCase, runs: tuple[Seen, Seen], words: tuple[Traits, Traits]
) -> Iterator[tuple[str, Verdict]]:
    """The verdict on a counter-case on the same plan, and between two runs for which the rule speaks. A rule that asks for what
    the image or a control run shows is shown it on the same plan, and not between the routes.
    """
    (left, right), (one, other) = runs, words
    fact = fact_at(case.path)
    difference = Difference(fact, case.left, case.right)
    sides = with_value(left, fact, case.left), with_value(right, fact, case.right)
    same = with_value(left, fact, case.left), with_value(left, fact, case.right)
    evident = replace(
        difference,
        ground=Ground((), ("the entry",)) if rule.follows else None,
        shown=Shown(0, "without KASLR", ran=True) if rule.control else None,
    )
    yield "same plan", Judge(rules, one, one, frozenset(), same).judge(evident)
    yield "across routes", Judge(rules, one, other, frozenset(rule.differs), sides).judge(difference)


def with_value(side: Seen, fact: Fact, value: str) -> Seen:
    """The same run with another value of a fact, or without it."""
    facts = side.facts
    piece = piece_of(fact)
    if piece is not None:
        whole = whole_of(fact)
        areas = [*_outside(facts.maps.get(whole, ()), *piece)]
        kind, _, owner = value.partition(" (")
        changed = (*areas, Area(*piece, kind, owner.rstrip(")"))) if value else tuple(areas)
        ordered = tuple(sorted(changed, key=lambda area: area.start))
        return replace(side, facts=replace(facts, maps={**facts.maps, whole: ordered}))
    name = "inputs" if fact.side is Side.INPUTS else "behaviour"
    table = {key: held for key, held in getattr(facts, name).items() if key != fact}
    return replace(side, facts=replace(facts, **{name: {**table, fact: value} if value else table}))


def _outside(areas: Iterable[Area], start: int, end: int) -> Iterator[Area]:
    """Areas without what lies in a range."""
    for area in areas:
        for low, high in ((area.start, min(area.end, start)), (max(area.start, end), area.end)):
            if low < high:
                yield replace(area, start=low, end=high)
