"""A difference between two records, and what a rule may look at to judge it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from efishim.compare.facts import Fact, Facts
from efishim.lab.record import Record

Block = tuple[int, int]
"""A function's place in a record's list of functions, and a block's in that function's list of offsets."""
Way = tuple[int, Block | str, Block]
"""Where code of one side begins: the side, the branch (or what is written instead), and the block behind it."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What code of one side rests on in the end, and the steps there (grounds.py)."""

    facts: tuple[Fact, ...]
    """Told differently; none where it is what was chosen, or other code that a rule explains."""
    steps: tuple[str, ...]
    """Clauses, the nearest to the code first."""

    @property
    def said(self) -> str:
        """The steps as a sentence's end."""
        return "rests on " + "; that on ".join(self.steps)


@dataclass(frozen=True, slots=True)
class Shown:
    """A control run in which the same route did the opposite (control.py)."""

    side: int
    """Whose: 0 or 1."""
    how: str
    """What was another one in it, a clause's beginning."""
    ran: bool
    """The code ran, though it did not before; or else it did not, though it did."""

    def said(self, route: str) -> str:
        """A clause."""
        return f"{self.how} {route} {'runs it, too' if self.ran else 'does not run it'}"


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that two records do not share; a value is empty where a record does not have the fact."""

    fact: Fact
    left: str
    right: str
    also: tuple[Fact, ...] = ()
    """Facts of later stages that have the same difference."""
    way: Way | None = None
    """Of code."""
    ground: Ground | None = None
    """Of code, where the kernel's image tells."""
    shown: Shown | None = None
    """Of code, where a control run tells."""

    @property
    def path(self) -> str:
        """The fact as people see it."""
        return self.fact.path

    def with_evidence(self, found: Ground | Shown, clause: str) -> Difference:
        """With what was found out about code, and a clause about it behind the value of the side that has the code."""
        left, right = (text and f"{text}; {clause}" for text in (self.left, self.right))
        if isinstance(found, Ground):
            return replace(self, left=left, right=right, ground=found)
        return replace(self, left=left, right=right, shown=found)


@dataclass(frozen=True, slots=True)
class Seen:
    """One of the two runs: its record, and the facts in it."""

    record: Record
    facts: Facts


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a predicate judges: the difference, and both runs."""

    difference: Difference
    left: Seen
    right: Seen

    @property
    def fact(self) -> Fact:
        """What differs."""
        return self.difference.fact

    @property
    def both(self) -> bool:
        """Does each run have the fact?"""
        return bool(self.difference.left and self.difference.right)

    def sides(self) -> tuple[tuple[str, Seen], tuple[str, Seen]]:
        """The value of each run, with the run."""
        return (self.difference.left, self.left), (self.difference.right, self.right)

    def told(self) -> Iterator[tuple[str, Seen]]:
        """The same, of the runs that have the fact."""
        return ((value, seen) for value, seen in self.sides() if value)
