"""Makes each call of a boot fail once, and tells what the kernel does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from efishim.errors import UsageError
from efishim.firmware.profile import Item, Kind
from efishim.lab.cache.records import RecordCache
from efishim.lab.observe.limits import Interrupt, Interrupted
from efishim.lab.plan.plan import Plan
from efishim.lab.record import Reason, Record
from efishim.plugins import Registry, load_plugins
from efishim.surface.effects import effect
from efishim.surface.fault_list import Possible, possible
from efishim.surface.fault_model import Case, Ending, Faults
from efishim.surface.model import Effect, Run
from efishim.surface.surface import PATIENCE, SLACK, SurfaceError, reproduce, whole_run
from efishim.surface.trials import NoSurfaceProgress, SurfaceProgress, Trial, Trials, trials

BATCH = 2
"""Faults that are tried together, for each job: what Ctrl-C may lose."""


@dataclass(frozen=True)
class _Search:
    """What all trials have in common."""

    plan: Plan
    runs: Trials
    whole: Record
    known: Mapping[str, Case]
    """What an earlier search found out."""


def faults(
    plan: Plan,
    *,
    registry: Registry | None = None,
    jobs: int = 1,
    progress: SurfaceProgress | None = None,
    interrupt: Interrupt | None = None,
    cache: RecordCache | None = None,
    earlier: Faults | None = None,
) -> Faults:
    """What a kernel does when a call fails, for each call that it makes on its way to the plan's goal.

    With more than one job the runs are in processes of their own, which find their plugins themselves. Once `interrupt` is
    set what is known so far is given, with `complete` false; the cases of an `earlier` search of the same kind are not run
    again. Otherwise deterministic.

    Raises SurfaceError when the kernel does not reach the goal anyhow, or makes no call that could fail, and what a run
    raises.
    """
    registry = registry or load_plugins()
    command = reproduce(plan).replace("efishim surface", "efishim surface --faults", 1)
    progress = progress or NoSurfaceProgress()
    progress.phase("the boot without a fault", 1)
    with trials(plan, jobs=jobs, progress=progress, interrupt=interrupt, registry=registry, cache=cache) as runs:
        whole = whole_run(runs)
        runs.limit = PATIENCE * whole.outcome.insns + SLACK
        found = possible(whole)
        if not found:
            raise SurfaceError("the kernel makes no call that could fail", hint="routes behind the EFI shim have firmware")
        search = _Search(plan, runs, whole, _known(earlier, whole, command))
        done: list[Case] = []
        progress.phase("each call made to fail", len(found))
        try:
            for start in range(0, len(found), BATCH * jobs):
                done += _cases(search, found[start : start + BATCH * jobs])
        except Interrupted:
            pass
        return Faults(
            tool=whole.tool,
            image=whole.image,
            route=whole.route,
            options=plan.record_options(),
            run=Run(insns=whole.outcome.insns, calls=len(whole.firmware_calls), command=plan.reproduce()),
            insns_limit=runs.limit,
            cases=done,
            complete=len(done) == len(found),
            reproduce=command,
        )


def _known(earlier: Faults | None, whole: Record, command: str) -> Mapping[str, Case]:
    """The cases of an earlier search by their faults. Raises UsageError when that was another one."""
    if earlier is None:
        return {}
    if (earlier.reproduce, earlier.image.sha256, earlier.tool) != (command, whole.image.sha256, whole.tool):
        raise UsageError("the earlier search was of another image, with other options or by another efishim")
    return {case.fault: case for case in earlier.cases}


def _plan(search: _Search, fault: Possible, *, observers: bool) -> Plan:
    return replace(search.runs.variant({}, observers=observers), fail=(*search.plan.fail, fault.text))


def _cases(search: _Search, some: Sequence[Possible]) -> list[Case]:
    """Some faults at the same time."""
    todo = [one for one in some if one.text not in search.known]
    quick = _run(search, todo, observers=False)
    # Observers cost time, and are needed only where something has to be looked at.
    slow = _run(search, [one for one in todo if not quick[one].boots], observers=True)
    trials_of = quick | slow
    return [search.known[one.text] if one.text in search.known else _case(search, one, trials_of[one]) for one in some]


def _run(search: _Search, some: Sequence[Possible], *, observers: bool) -> dict[Possible, Trial]:
    shown = [{Item(Kind.SERVICE, one.text.rpartition("=")[0]): one.status} for one in some]
    plans = [_plan(search, one, observers=observers) for one in some]
    return dict(zip(some, search.runs.run(list(zip(shown, plans, strict=True))), strict=True))


def _case(search: _Search, fault: Possible, trial: Trial) -> Case:
    shown = replace(_plan(search, fault, observers=True), max_insns=search.plan.max_insns)
    found = effect(Item(Kind.SERVICE, fault.service), fault.status, trial, search.whole, shown)
    return Case(
        fault=fault.text,
        service=fault.service,
        number=fault.number,
        asked=fault.asked,
        before=fault.before,
        ending=ending(found),
        effect=found,
    )


def ending(found: Effect) -> Ending:
    """What an effect amounts to. A boot that could not begin says why on the host's side."""
    if found.boots:
        return Ending.SAYS_SO if found.says else Ending.GOES_ON
    if found.says or not found.reached:
        return Ending.STOPS
    return Ending.RETURNS if found.reason == Reason.EXIT.value else Ending.DIES
