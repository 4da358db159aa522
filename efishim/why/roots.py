"""Behind which branch the code ran that only one of two runs has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from efishim.compare.roots import Ran, Walk
from efishim.lab.record import FunctionCoverage
from efishim.why.behind import Behind

CODE = "code."
Functions = Sequence[FunctionCoverage]


def roots(truth: tuple[Behind, Behind], ran: tuple[Functions, Functions], facts: Iterable[str]) -> Mapping[str, str]:
    """For each of the facts that is a function, `function -> function`: the last one that both runs came through, and the
    first behind it.
    """
    names = [fact for fact in facts if fact.startswith(CODE)]
    found: dict[str, str] = {}
    sides = tuple(Ran(functions) for functions in ran)
    for number, one in enumerate(truth):
        own = {fact.removeprefix(CODE) for fact in names if fact in one.facts}
        for root in Walk(sides[number], sides[1 - number], by_block=True).roots(own):
            found.update((CODE + name, root.fact.subject) for name in root.below)
    return found
