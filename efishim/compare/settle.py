"""Tries what no rule explains: control runs of pairs of which nothing but code is unexplained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from efishim.compare.control import VARIATIONS, Both, Control, Variation, shown
from efishim.compare.evidence import Difference
from efishim.compare.pair import Pair, judge_open
from efishim.compare.roots import Ran
from efishim.compare.rules import Class
from efishim.compare.traits import traits
from efishim.lab.record import Record

PATIENCE = 4
"""Rounds in a row that show nothing before no more are made."""

ROUNDS: tuple[tuple[Sequence[Variation], Sequence[Variation]], ...] = (
    (VARIATIONS[:2], ()),
    ((), VARIATIONS[:1]),
    (VARIATIONS[2:4], ()),
    ((), VARIATIONS[1:2]),
    (VARIATIONS[4:], VARIATIONS[2:3]),
    *(((), (variation,)) for variation in VARIATIONS[3:]),
)
"""Variations of the reference, and of the others that are unsettled. A run of the reference counts for all pairs."""

Wanted = tuple[int, Variation]
"""The number of a record, and what is another one in its run."""
Repeat = Callable[[Sequence[Wanted]], Mapping[Wanted, Record]]
"""Makes runs again. One that cannot be made has no record."""


def settled(pairs: Sequence[Pair], repeat: Repeat) -> list[Pair]:
    """Pairs of the first record with each of the others, judged again with control runs. Those of which anything else than
    code is unexplained stay as they are: their verdict would be the same.
    """
    found = list(pairs)
    controls: dict[int, list[Control]] = {}
    fruitless = 0
    for of_reference, of_others in ROUNDS:
        unsettled = [index for index, pair in enumerate(found) if is_unsettled(pair)]
        if not unsettled or fruitless == PATIENCE:
            break
        wanted = [(0, variation) for variation in of_reference]
        wanted += [(index + 1, variation) for variation in of_others for index in unsettled]
        wanted = [one for one in wanted if one[1].kaslr or _has_kaslr(found, one[0])]
        if not wanted:
            continue
        for (number, variation), record in repeat(wanted).items():
            controls.setdefault(number, []).append(Control(variation, Ran(record.coverage.functions)))
        before = _left(found)
        for index in unsettled:
            found[index] = judged_again(found[index], (controls.get(0, []), controls.get(index + 1, [])))
        fruitless = 0 if _left(found) < before else fruitless + 1
    return found


def is_unsettled(pair: Pair) -> bool:
    """Is something unexplained, and nothing but code of one image that has a rule about timing?"""
    same = pair.left.image.sha256 == pair.right.image.sha256
    unexplained = pair.of(Class.UNEXPLAINED)
    return same and pair.judge.controls and bool(unexplained) and all(one.difference.way is not None for one in unexplained)


def _has_kaslr(pairs: Sequence[Pair], number: int) -> bool:
    """Did the kernel of this record place itself?"""
    record = pairs[number - 1].right if number else pairs[0].left
    return "kaslr" in traits(record).words


def _left(pairs: Sequence[Pair]) -> int:
    return sum(len(pair.of(Class.UNEXPLAINED)) for pair in pairs)


def judged_again(pair: Pair, controls: Both) -> Pair:
    """A pair with the control runs that were made of its two records."""
    routes = [f"{record.route.provider}/{record.route.entry}" for record in (pair.left, pair.right)]

    def evident(difference: Difference) -> Difference | None:
        found = shown(difference, pair.runs, controls)
        return None if found is None else difference.with_evidence(found, found.said(routes[found.side]))

    # Of code that stays unexplained, nothing is said: the next round would say more.
    again = zip(pair.judged, judge_open(pair.judged, pair.judge, evident), strict=True)
    judged = tuple(before if now.verdict.kind is Class.UNEXPLAINED else now for before, now in again)
    return replace(pair, judged=judged, unused=pair.judge.unused())
