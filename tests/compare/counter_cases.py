"""Runs the counter-cases that rules carry: differences put into two records, which no rule may explain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import islice, permutations

from efishim.compare.evidence import Difference, Seen
from efishim.compare.facts import Area, Fact, Kind, Side, Stage, given, read_fact
from efishim.compare.pair import facts_of
from efishim.compare.predicates.memory import piece_of, whole_of
from efishim.compare.rules import CounterCase, Judge, Rule, Traits, Verdict
from efishim.compare.traits import traits
from efishim.testing import run

ROUTES = (
    *("grub/efi-handover", "hvmlite/pvh", "firmware/efi-handover", "hvmlite/efi", "firmware/efi", "grub/efi"),
    *("grub/linux64", "grub/linux32", "lilo/linux16", "kexec/linux64", "subarch/linux64", "multiboot/efi", "multiboot2/efi"),
)


@cache
def seen(route: str) -> Seen:
    """The probe kernel on a route."""
    provider, _, entry = route.partition("/")
    record = run(provider=provider, entry=entry, until="startup_64")
    return Seen(record, facts_of(record))


@cache
def words(route: str) -> Traits:
    return traits(seen(route).record)


def fact_at(path: str) -> Fact:
    """The fact of a path; pieces of maps that userspace is shown are among them."""
    word, _, rest = path.partition(".")
    if word == "userspace" and rest.endswith("]") and "[0x" in rest:
        name, _, piece = rest.rstrip("]").partition("[")
        return given(Stage.USERSPACE, name, piece, kind=Kind.RANGE)
    return read_fact(path)


MOST = 6
"""Pairs of routes on which a counter-case is tried."""


def judged(rules: Sequence[Rule], rule: Rule, case: CounterCase) -> Iterator[tuple[str, Verdict]]:
    """The verdict on a counter-case on the same plan, and between routes for which the rule speaks."""
    fact = fact_at(case.path)
    difference = Difference(fact, case.left, case.right)
    for left, right, one, other in islice(_pairs(rule), MOST):
        sides = _with(left, fact, case.left), _with(right, fact, case.right)
        same = _with(left, fact, case.left), _with(left, fact, case.right)
        yield "same plan", Judge(rules, one, one, frozenset(), same).judge(difference)
        yield "across routes", Judge(rules, one, other, frozenset(rule.differs), sides).judge(difference)


def _pairs(rule: Rule) -> Iterator[tuple[Seen, Seen, Traits, Traits]]:
    """Routes for which a rule speaks; where the probe kernel shows no such pair, the words are added."""
    leading = rule.only or rule.without
    found = False
    for route, against in permutations(ROUTES, 2):
        a, b = words(route), words(against)
        leads = leading in a.words if leading else not rule.one or bool(set(rule.one) & a.words)
        if leads and rule.applies(a, b, frozenset(rule.differs)):
            found = True
            yield seen(route), seen(against), a, b
    if found:
        return
    needed = {*rule.both, *([leading] if leading else rule.one[:1])}
    one, other = Traits(frozenset(needed)), Traits(frozenset(rule.both))
    assert rule.applies(one, other, frozenset(rule.differs)), rule.name
    yield seen("grub/efi-handover"), seen("hvmlite/pvh"), one, other


def _with(side: Seen, fact: Fact, value: str) -> Seen:
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
