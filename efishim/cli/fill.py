"""Fills a folder with the records of a matrix: plans, what is there already, runs, and the report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from efishim.cli.run import interruptible
from efishim.cli.runs_progress import Silent, route_name, shown_progress
from efishim.report.matrix_folder import MatrixFolder
from efishim.report.matrix_table import Cell

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.lab.cache.records import RecordCache
    from efishim.lab.matrix import MatrixProgress
    from efishim.lab.plan.plan import Plan
    from efishim.lab.record import MilestonePoint, Record
    from efishim.lab.running import Result
    from efishim.plugins import Registry

NOT_APPLICABLE = 77


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the matrix is over, and how it is to be made."""

    kernels: Sequence[str | None]
    routes: tuple[str, ...]
    platforms: Sequence[str]
    words: Mapping[str, Any]
    jobs: int
    quiet: bool
    cache: RecordCache | None
    on: str | None


@dataclass(frozen=True, slots=True)
class Filled:
    """The result. `interrupted` is an exit status, 0 if the command was not interrupted."""

    cells: list[Cell]
    records: list[Record]
    made: int
    """Runs that were not there already."""
    interrupted: int


def fill(state: State, wanted: Wanted, folder: MatrixFolder) -> Filled:
    """Make what is missing."""
    from efishim.errors import UsageError
    from efishim.lab.matrix import run_matrix
    from efishim.report.matrix_folder import twice

    plans, names, cells = _plans(state, wanted)
    common = twice(plans)
    if common is not None:
        raise UsageError(f"two runs would write the same file, {common}", hint="name each kernel, route and platform once")
    records = {plan: folder.find(plan, state.registry) for plan in plans}
    missing = [plan for plan in plans if records[plan] is None]
    shown = [f"{names[plan]}, {route_name(plan)}" for plan in missing]
    with interruptible() as interruption, shown_progress(state.talk, shown, quiet=wanted.quiet) as progress:
        results = run_matrix(
            missing,
            jobs=wanted.jobs,
            progress=_Writing(progress, folder, state.registry),
            interrupt=interruption,
            registry=state.registry,
            cache=wanted.cache,
            on=wanted.on,
        )
    done = {result.plan: result for result in results}
    for plan in plans:
        record = records[plan]
        cells.append(_cell(names[plan], done[plan]) if record is None else Cell(names[plan], route_name(plan), record))
    found = [cell.record for cell in cells if cell.record is not None]
    return Filled(cells, found, len(missing), interruption.exit_status)


def _plans(state: State, wanted: Wanted) -> tuple[list[Plan], dict[Plan, str], list[Cell]]:
    """All plans, the names of their kernels, and the cells that can have no run."""
    from efishim.cli.kernel import find_image
    from efishim.image.cachedir import cache_directory
    from efishim.image.facts import KernelCache
    from efishim.image.opened import open_image
    from efishim.lab.plan.routes import plan_routes

    plans: list[Plan] = []
    names: dict[Plan, str] = {}
    cells: list[Cell] = []
    with state.talk.progress(quiet=wanted.quiet, moving=True) as progress:
        for kernel in wanted.kernels or (None,):
            blob = find_image(kernel, progress, state.registry)
            progress.phase(f"opening {blob.label}")
            image = open_image(blob.read(), path=blob.label, cache=KernelCache(cache_directory(os.environ)))
            name = (image.version.split() or [blob.label])[0]
            for platform in wanted.platforms:
                words = dict(wanted.words) | {"platform": platform}
                made, without = plan_routes(state.registry, image, blob, wanted.routes, words)
                for plan in made:
                    if plan not in names:  # a route that names its platform is there for each
                        names[plan] = name
                        plans.append(plan)
                cells += [Cell(name, f"{one.route}@{platform}", reason=one.reason, failed=one.failed) for one in without]
    return plans, names, cells


def _cell(name: str, result: Result) -> Cell:
    route = route_name(result.plan)
    if result.failure is not None:
        return Cell(name, route, reason=result.failure.sentence, failed=result.failure.exit_status != NOT_APPLICABLE)
    if result.record is None:
        return Cell(name, route, reason="interrupted before it began", failed=True)
    return Cell(name, route, result.record)


class _Writing(Silent):
    """Writes each record as soon as it is there, so that the next matrix finds it."""

    def __init__(self, inner: MatrixProgress, folder: MatrixFolder, registry: Registry) -> None:
        self._inner, self._folder, self._registry = inner, folder, registry

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """Passed on."""
        self._inner.milestone(index, point)

    def tick(self, index: int, insns: int, rate: float) -> None:
        """Passed on."""
        self._inner.tick(index, insns, rate)

    def finished(self, index: int, result: Result) -> None:
        """Kept, and passed on."""
        if result.record is not None:
            self._folder.keep(result.plan, result.record, self._registry)
        self._inner.finished(index, result)
