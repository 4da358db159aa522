"""One run of a matrix, wherever it is made: what is told of it, and what comes of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from efishim.errors import EfishimError
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.plan import Plan
from efishim.lab.progress import NoProgress
from efishim.lab.record import Milestone, MilestonePoint, Record
from efishim.lab.salvage import described

if TYPE_CHECKING:
    from efishim.plugins import Registry

SHORT_ENTRIES = frozenset({"pvh", "multiboot", "multiboot2"})
"""Entries past the decompressor; all others make the guest unpack its kernel, which takes longer."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no record. `exit_status` is that of the error: 77 when the route does not apply to the image."""

    sentence: str
    hint: str
    exit_status: int


@dataclass(frozen=True, slots=True)
class Result:
    """A plan and what came of it: a record, or a failure, or neither when the matrix was cut short before it began."""

    plan: Plan
    record: Record | None = None
    failure: Failure | None = None
    cached: bool = False
    """The record is one that was kept of an earlier run of the plan."""


class MatrixProgress(Protocol):
    """What a matrix reports while it goes on; `index` counts the plans as they were given."""

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """A run passed a milestone."""

    def tick(self, index: int, insns: int, rate: float) -> None:
        """A run is alive: instructions so far, and how many a second since the last tick."""

    def finished(self, index: int, result: Result) -> None:
        """A run ended."""


def longest_first(plans: Sequence[Plan]) -> list[int]:
    """Indices of the plans in the order in which they should begin."""
    order = list(Milestone)
    return sorted(range(len(plans)), key=lambda i: (-order.index(plans[i].until), plans[i].entry in SHORT_ENTRIES, i))


class Reporter(NoProgress):
    """Events of one run, with a rate."""

    def __init__(self, index: int, send: Callable[[tuple[Any, ...]], None]) -> None:
        self._index = index
        self._send = send
        self._last = (time.monotonic(), 0)

    def milestone(self, point: MilestonePoint) -> None:
        self._send(("milestone", self._index, point))

    def tick(self, insns: int, virtual_ns: int) -> None:
        now, (before, count) = time.monotonic(), self._last
        self._last = (now, insns)
        self._send(("tick", self._index, insns, (insns - count) / max(now - before, 1e-3)))


def attempt(plan: Plan, reporter: Reporter, interrupt: Interrupt | None, registry: Registry | None) -> Result:
    """Run a plan; what it raises is its failure."""
    from efishim.lab.run import run_plan  # noqa: PLC0415 - workers import the machine, their parent need not

    gc.disable()  # as `efishim run` does; one run leaves nothing in cycles that matters before its end
    try:
        return Result(plan, record=run_plan(plan, progress=reporter, interrupt=interrupt, registry=registry))
    except EfishimError as error:
        return Result(plan, failure=Failure(error.sentence, error.hint, error.exit_status))
    except Exception as error:  # noqa: BLE001 - one run that fails is not the end of the others
        return Result(plan, failure=Failure(described(error), "", EfishimError.exit_status))
    finally:
        gc.enable()
        gc.collect()


def dispatch(progress: MatrixProgress, event: tuple[Any, ...]) -> None:
    """Tell an event that a reporter sent."""
    kind, index, *rest = event
    if kind == "milestone":
        progress.milestone(index, *rest)
    else:
        progress.tick(index, *rest)
