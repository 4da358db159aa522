"""The convergence of two routes: the first point of the kernel that both pass, and what differs there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efishim.compare.facts import Side
from efishim.compare.pair import Pair
from efishim.compare.rules import Class
from efishim.lab.record import Milestone, MilestonePoint, Record

AFTER_FIRMWARE = (Milestone.STARTUP_64, Milestone.START_KERNEL, Milestone.INIT, Milestone.USERSPACE)
"""Milestones in the kernel proper: there both ways run the same code."""


MARK = "+0x0"


@dataclass(frozen=True, slots=True)
class Convergence:
    """The first block of the kernel proper that both ran, how many they ran in step from there on, and where they part
    again: what each ran next, empty at the end of what was recorded.
    """

    symbol: str
    together: int
    left: str = ""
    right: str = ""


def converge(left: Sequence[str], right: Sequence[str]) -> Convergence | None:
    """Of two traces: blocks in the order in which they first ran. None when they share nothing."""
    at = {symbol: index for index, symbol in reversed(list(enumerate(right)))}
    start = next((index for index, symbol in enumerate(left) if symbol in at), None)
    if start is None:
        return None
    one, other = left[start:], right[at[left[start]] :]
    together = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    ended = together >= min(len(one), len(other))
    return Convergence(left[start], together, "" if ended else one[together], "" if ended else other[together])


def convergence(left: str, right: str, pair: Pair) -> list[str]:
    """Sentences."""
    place = convergence_point(pair.left, pair.right)
    if place is None:
        return ["Nowhere: no code of the kernel ran on both."]
    one, other = place
    met = converge(pair.left.coverage.trace, pair.right.coverage.trace)
    symbol = met.symbol if met is not None else one.at.symbol if one.at is not None and one.at.symbol else one.name.value
    lines = [f"At {symbol.removesuffix(MARK)}, after {one.insns:,} instructions on {left} and {other.insns:,} on {right}."]
    if met is not None and met.left:
        lines.append(
            f"From there both run the same {met.together:,} blocks, then {left} goes to {met.left.removesuffix(MARK)} "
            f"and {right} to {met.right.removesuffix(MARK)}."
        )
    elif met is not None:
        lines.append(f"From there both run the same {met.together:,} blocks, as far as they are recorded.")
    there = [
        judged
        for judged in pair.judged
        if judged.side is Side.INPUTS
        and any(fact.stage.value == one.name.value for fact in (judged.difference.fact, *judged.difference.also))
    ]
    if not there:
        return [*lines, "At this point, the boot information is the same."]
    counts = {kind: sum(judged.verdict.kind is kind for judged in there) for kind in Class}
    said = ", ".join(f"{count} {kind.value}" for kind, count in counts.items() if count)
    return [*lines, f"At this point, {len(there)} facts of the boot information differ: {said}."]


def convergence_point(left: Record, right: Record) -> tuple[MilestonePoint, MilestonePoint] | None:
    """The first milestone in the kernel proper that both passed, on each side."""
    one = {point.name: point for point in left.milestones}
    other = {point.name: point for point in right.milestones}
    for name in AFTER_FIRMWARE:
        if name in one and name in other:
            return one[name], other[name]
    return None
