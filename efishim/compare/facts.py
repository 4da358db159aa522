"""A record as facts: paths with values that can be set side by side.

A *told* fact is something that was given to the kernel or could be found by it: the machine, the native structure, what
lies in boot_params. A *done* fact is something that the kernel did with it: milestones, firmware calls, hardware, code, log.
Counts are not facts, they are costs (costs.py): two ways in that both read a port, one of them more often, do the same thing.

A path that ends in `@` is an address. A pointer to something that has a name in the same record is written as `&name`
(landmarks.py), so that the same thing at another place gives one difference and not one for each pointer to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

ABSENT = ""
"""The value of a fact that a record does not have."""


class Side(StrEnum):
    """What kind of fact it is."""

    TOLD = "told"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Area:
    """[start, end) of physical memory and what it is said to be."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of a record, by path, and the memory maps as sorted ranges, which are compared as areas and not by index."""

    told: Mapping[str, str]
    done: Mapping[str, str]
    maps: Mapping[str, tuple[Area, ...]]

    def of(self, side: Side) -> Mapping[str, str]:
        """The facts of one side."""
        return self.told if side is Side.TOLD else self.done
