"""Runs a plan, or gives the record of a run of it that was made before."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from efishim.lab.cache.records import RecordCache
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.plan import Plan
from efishim.lab.progress import NoProgress, Progress
from efishim.lab.record import Record

if TYPE_CHECKING:
    from efishim.lab.debugger import DebugRequest
    from efishim.plugins import Registry


def run_cached(
    plan: Plan,
    *,
    cache: RecordCache | None,
    registry: Registry,
    console: Callable[[bytes], None] | None = None,
    progress: Progress | None = None,
    interrupt: Interrupt | None = None,
    debug: DebugRequest | None = None,
) -> Record:
    """As `run_plan`, with which it shares its arguments and what it raises. A cached record is reported as its run was:
    milestones, then the console. With `debug` the run is always made, and its record is not kept.
    """
    usable = cache if debug is None else None
    found = usable.find(plan, registry, console=console is not None) if usable is not None else None
    if found is not None:
        told(found, progress or NoProgress(), console)
        return found
    from efishim.lab.run import run_plan  # noqa: PLC0415 - it imports the machine, which a record of the cache needs not

    record = run_plan(plan, console=console, progress=progress, interrupt=interrupt, registry=registry, debug=debug)
    if usable is not None:
        usable.keep(plan, record, registry)
    return record


def told(record: Record, progress: Progress, console: Callable[[bytes], None] | None) -> None:
    """What is heard of a run, of one that was made before."""
    progress.note("this run was made before, so its record is reused; --no-cache boots again")
    for point in record.milestones:
        progress.milestone(point)
    if console is not None and record.console:
        console(record.console.encode())
