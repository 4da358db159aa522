"""Control runs: the same plan on a processor of another speed, or with the kernel where it was linked.

Whether some code runs depends on when the timer interrupts, or on where KASLR put the kernel, and no reading of a record can
tell that: a route with another history meets the interrupt elsewhere. It can be tried. A run of the very same plan, in which
only that is another one, runs the code that it left out before, or leaves out what it ran. Then the code depends on that
alone, whatever the routes told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from efishim.compare.evidence import Difference, Shown
from efishim.compare.roots import Ran
from efishim.machine.timekeeper import INSNS_PER_US

SPEEDS = tuple(INSNS_PER_US * thousandths // 1000 for thousandths in (993, 500, 1025, 975, 1009))
"""Instructions in a microsecond that are tried one after the other: a little slower and faster than it is by default, so that
the kernel does the same at other moments, and half as fast, so that more comes before the end.
"""


@dataclass(frozen=True, slots=True)
class Variation:
    """What is another one in a control run."""

    speed: int = INSNS_PER_US
    """Of the processor, in instructions in a microsecond."""
    kaslr: bool = True
    """False: the kernel is told not to place itself at random."""

    @property
    def said(self) -> str:
        """A clause's beginning."""
        return f"at {self.speed:,} instructions in a microsecond" if self.kaslr else "without KASLR"


VARIATIONS = (
    *(Variation(speed=speed) for speed in SPEEDS[:2]),
    Variation(kaslr=False),
    *(Variation(speed=speed) for speed in SPEEDS[2:]),
)
"""In the order in which they are tried."""


@dataclass(frozen=True)
class Control:
    """A run of a variation, and what ran."""

    variation: Variation
    ran: Ran


Both = tuple[Sequence[Control], Sequence[Control]]
"""Control runs of the one and of the other route."""


def shown(difference: Difference, runs: tuple[Ran, Ran], controls: Both) -> Shown | None:
    """The first control run of either route that does the opposite of its route: where the code ran on one side only, each
    function of it runs on the other, or none does on the first. None where none is there, or the difference is not of code.
    """
    if difference.way is None:
        return None
    having, _, (function, block) = difference.way
    first = runs[having].functions[function]
    offset = runs[having].offsets(function)[block]
    names = [fact.subject for fact in difference.also]

    def outcomes(control: Control) -> Iterator[bool]:
        """Of the block behind the branch, and of each function."""
        yield control.ran.ran(first.part, first.name, offset)
        yield from (name in control.ran.named for name in names)

    lacking = 1 - having
    for control in controls[lacking]:
        if all(outcomes(control)):
            return Shown(lacking, control.variation.said, True)
    for control in controls[having]:
        if not any(outcomes(control)):
            return Shown(having, control.variation.said, False)
    return None
