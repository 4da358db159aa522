"""Runs many plans in parallel, each in its own process, with the same records as in sequence.

Plans are values and travel to the workers, records travel back. Workers are started afresh (`spawn`), so nothing of the
caller's state can leak into a run: a record of a matrix is byte for byte that of the single run.
"""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from efishim.errors import UsageError
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.plan import Plan
from efishim.lab.record import MilestonePoint
from efishim.lab.running import Failure, MatrixProgress, Reporter, Result, attempt, dispatch, longest_first
from efishim.lab.workers import workers

if TYPE_CHECKING:
    from efishim.lab.cache.records import RecordCache
    from efishim.plugins import Registry

POLL_SECONDS = 0.1
"""How often the events of the workers are looked at."""


def run_matrix(
    plans: Sequence[Plan],
    *,
    jobs: int,
    progress: MatrixProgress,
    interrupt: Interrupt | None = None,
    registry: Registry | None = None,
    cache: RecordCache | None = None,
    on: str | None = None,
) -> list[Result]:
    """Run all plans, at most `jobs` at a time, those that take longest first; results in the order of the plans.

    With one job everything runs in this process, with `registry`; workers find their plugins themselves. Once `interrupt`
    is set, runs that go on end with partial records and the others are not begun. What a run raises is its failure.
    With a cache, and the registry that it asks for, only plans that it has no record of are run. `on` (`dask://HOST:PORT`,
    which asks for the registry, too) names a cluster that runs them instead of processes here.
    """
    if cache is not None and registry is not None:
        return _with_cache(plans, jobs, progress, interrupt, registry, cache, on)
    return _run_all(plans, jobs, progress, interrupt, registry, on)


def _run_all(
    plans: Sequence[Plan],
    jobs: int,
    progress: MatrixProgress,
    interrupt: Interrupt | None,
    registry: Registry | None,
    on: str | None,
) -> list[Result]:
    if on is not None:
        if registry is None:
            raise UsageError("a cluster has to have the plugins of this machine, and which these are was not said")
        from efishim.lab.cluster import run_on_cluster  # noqa: PLC0415 - rarely wanted

        return run_on_cluster(plans, on, progress, interrupt, registry)
    if jobs <= 1 or len(plans) <= 1:
        return _one_by_one(plans, progress, interrupt, registry)
    return _Pool(plans, min(jobs, len(plans)), progress, interrupt).run()


def _with_cache(
    plans: Sequence[Plan],
    jobs: int,
    progress: MatrixProgress,
    interrupt: Interrupt | None,
    registry: Registry,
    cache: RecordCache,
    on: str | None,
) -> list[Result]:
    results: dict[int, Result] = {}
    for index, plan in enumerate(plans):
        record = cache.find(plan, registry)
        if record is not None:
            results[index] = Result(plan, record=record, cached=True)
            for point in record.milestones:
                progress.milestone(index, point)
            progress.finished(index, results[index])
    missing = [index for index in range(len(plans)) if index not in results]
    made = _run_all(
        [plans[index] for index in missing], jobs, _Keeping(progress, missing, cache, registry), interrupt, registry, on
    )
    results.update(zip(missing, made, strict=True))
    return [results[index] for index in range(len(plans))]


class _Keeping:
    """Passes on what is heard of some of the plans, and keeps each record as soon as it is there: what comes after it may be
    cut short.
    """

    def __init__(self, inner: MatrixProgress, indices: Sequence[int], cache: RecordCache, registry: Registry) -> None:
        self._inner, self._indices, self._cache, self._registry = inner, indices, cache, registry

    def milestone(self, index: int, point: MilestonePoint) -> None:
        self._inner.milestone(self._indices[index], point)

    def tick(self, index: int, insns: int, rate: float) -> None:
        self._inner.tick(self._indices[index], insns, rate)

    def finished(self, index: int, result: Result) -> None:
        if result.record is not None:
            self._cache.keep(result.plan, result.record, self._registry)
        self._inner.finished(self._indices[index], result)


def _one_by_one(
    plans: Sequence[Plan], progress: MatrixProgress, interrupt: Interrupt | None, registry: Registry | None
) -> list[Result]:
    results = []
    for index, plan in enumerate(plans):
        if interrupt is not None and interrupt.is_set():
            results.append(Result(plan))
            continue
        reporter = Reporter(index, lambda event: dispatch(progress, event))
        results.append(attempt(plan, reporter, interrupt, registry))
        progress.finished(index, results[-1])
    return results


class _Worker:
    """What a worker process keeps between its runs."""

    events: Any = None
    interrupt: Any = None


def _begin(interrupt: Interrupt, events: Any) -> None:
    """In each worker, once."""
    _Worker.events, _Worker.interrupt = events, interrupt


def _work(index: int, plan: Plan) -> Result:
    if _Worker.interrupt.is_set():
        return Result(plan)
    return attempt(plan, Reporter(index, _Worker.events.put), _Worker.interrupt, None)


class _Pool:
    """A matrix over worker processes."""

    def __init__(self, plans: Sequence[Plan], jobs: int, progress: MatrixProgress, interrupt: Interrupt | None) -> None:
        self._plans = plans
        self._jobs = jobs
        self._progress = progress
        self._interrupt = interrupt
        self._results = [Result(plan) for plan in plans]

    def run(self) -> list[Result]:
        with workers(self._jobs, _begin) as pool:
            waiting = {pool.submit(_work, i, self._plans[i]): i for i in longest_first(self._plans)}
            while waiting:
                if self._interrupt is not None and self._interrupt.is_set():
                    pool.stop.set()  # runs end with partial records, and what waits is not begun
                done, _ = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                self._drain(pool.events)
                for future in done & waiting.keys():
                    self._keep(waiting.pop(future), future)
        self._drain(pool.events)
        return self._results

    def _keep(self, index: int, future: Future[Result]) -> None:
        try:
            result = future.result()
        except BrokenProcessPool:
            result = Result(self._plans[index])
            if self._interrupt is None or not self._interrupt.is_set():
                lost = Failure("the worker process died", "there may not be enough memory for so many jobs", 3)
                result = Result(self._plans[index], failure=lost)
        self._results[index] = result
        self._progress.finished(index, result)

    def _drain(self, events: Any) -> None:
        while True:
            try:
                event = events.get_nowait()
            except (queue.Empty, OSError, ValueError):
                return
            dispatch(self._progress, event)


__all__ = ["Failure", "MatrixProgress", "Result", "longest_first", "run_matrix"]
