"""Runs the counter-cases that rules carry: differences put into two records, which no rule may explain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice, permutations

from efishim.compare.counter_cases import tried
from efishim.compare.evidence import Seen
from efishim.compare.pair import facts_of
from efishim.compare.rules import CounterCase, Rule, Traits, Verdict
from efishim.compare.traits import traits
from efishim.testing import run

ROUTES = (
    *("grub/efi-handover", "hvmlite/pvh", "firmware/efi-handover", "hvmlite/efi", "firmware/efi", "grub/efi"),
    *("grub/linux64", "grub/linux32", "lilo/linux16", "kexec/linux64", "subarch/linux64", "multiboot/efi", "multiboot2/efi"),
)


ON_PLATFORMS = tuple(
    f"{route}@{platform}" for route in ("hvmlite/pvh", "firmware/efi", "grub/linux64") for platform in ("pc", "kvm", "hvmlite")
)
"""For rules between machines."""


@cache
def seen(route: str) -> Seen:
    """The probe kernel on a route, and a platform behind it."""
    way, _, platform = route.partition("@")
    provider, _, entry = way.partition("/")
    record = run(provider=provider, entry=entry, until="startup_64", platform=platform or "pc")
    return Seen(record, facts_of(record))


@cache
def words(route: str) -> Traits:
    return traits(seen(route).record)


MOST = 6
"""Pairs of routes on which a counter-case is tried."""


def judged(rules: Sequence[Rule], rule: Rule, case: CounterCase) -> Iterator[tuple[str, Verdict]]:
    """The verdict on a counter-case on the same plan, and between routes for which the rule speaks."""
    for left, right, one, other in islice(_pairs(rule), MOST):
        yield from tried(rules, rule, case, (left, right), (one, other))


def _pairs(rule: Rule) -> Iterator[tuple[Seen, Seen, Traits, Traits]]:
    """Routes for which a rule speaks; where the probe kernel shows no such pair, the words are added."""
    leading = rule.only or rule.without
    found = False
    for route, against in permutations(ON_PLATFORMS if "machine" in rule.both else ROUTES, 2):
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
