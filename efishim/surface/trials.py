"""Trials: runs with some answers changed, in parallel, each in its own process."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from efishim.errors import EfishimError, MachineError
from efishim.firmware.profile import Item
from efishim.lab.observe.limits import Interrupt, Interrupted
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Reason, Record
from efishim.lab.salvage import FAILED
from efishim.lab.workers import Workers, workers

if TYPE_CHECKING:
    from efishim.lab.cache.records import RecordCache
    from efishim.plugins import Registry

POLL_SECONDS = 0.1
TAIL = 1 << 16
"""Bytes of the console's end that are searched for a panic."""

PANIC = b"---[ end Kernel panic"
"""The last line of Linux (kernel/panic.c), after which it waits for ever or reboots: the trial need not."""

Changes = Mapping[Item, str]


class SurfaceProgress(Protocol):
    """What a search reports. Every method returns quickly and never raises."""

    def phase(self, text: str, trials: int) -> None:
        """Something new begins, with so many trials to come."""

    def trial(self, changes: Changes, *, boots: bool) -> None:
        """A trial ended."""


class NoSurfaceProgress:
    """The null twin: says nothing."""

    def phase(self, text: str, trials: int) -> None:
        """Nothing."""

    def trial(self, changes: Changes, *, boots: bool) -> None:
        """Nothing."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a plan. Without a record it could not be run so, for this reason."""

    boots: bool
    record: Record | None = None
    error: EfishimError | None = None

    @property
    def failure(self) -> str:
        """The reason in one sentence."""
        return "" if self.error is None else self.error.sentence


class _Worker:
    """What a worker process keeps between its runs."""

    interrupt: Interrupt | None = None


class _Ear:
    """Listens for a panic, and passes the user's wish on."""

    def __init__(self, interrupt: Interrupt | None) -> None:
        self._interrupt = interrupt
        self._tail = b""
        self.panicked = False

    def __call__(self, data: bytes) -> None:
        self._tail = (self._tail + data)[-TAIL:]
        self.panicked |= PANIC in self._tail

    def is_set(self) -> bool:
        """Shall the run end?"""
        return self.panicked or (self._interrupt is not None and self._interrupt.is_set())


def attempt(plan: Plan, interrupt: Interrupt | None = None, registry: Registry | None = None) -> Trial | None:
    """Run one plan; None when the user ended it. What the run raises is a trial that does not boot."""
    from efishim.lab.run import run_plan  # noqa: PLC0415 - workers import the machine, their parent need not

    ear = _Ear(interrupt)
    gc.disable()
    try:
        record = run_plan(plan, console=ear, interrupt=ear, registry=registry)
    except MachineError:
        raise
    except EfishimError as error:
        return Trial(boots=False, error=error)
    finally:
        gc.enable()
        gc.collect()
    if record.outcome.details.startswith(FAILED):
        raise MachineError(record.outcome.details)
    if record.outcome.reason is Reason.INTERRUPTED and not ear.panicked:
        return None
    return Trial(record.outcome.met, record)


def _begin(interrupt: Interrupt, _events: Any) -> None:
    """In each worker, once."""
    _Worker.interrupt = interrupt


def _work(plan: Plan) -> Trial | None:
    return attempt(plan, _Worker.interrupt)


@dataclass
class Trials:
    """Runs variants of one plan and remembers them. Use `trials`."""

    plan: Plan
    progress: SurfaceProgress
    interrupt: Interrupt | None
    registry: Registry | None
    pool: Workers | None
    cache: RecordCache | None = None
    """Records of trials of earlier searches. Those that a panic ended early are not among them."""
    count: int = 0
    limit: int = 0
    """Instructions after which a trial is given up; 0 for what the plan says."""
    _known: dict[tuple[Any, ...], Trial] = field(default_factory=dict)

    def variant(self, changes: Changes, *, observers: bool, profile: Blob | None = None) -> Plan:
        """The plan with these answers, or with a whole profile instead of its own."""
        plan = replace(self.plan, observers=observers)
        if self.limit:
            plan = replace(plan, max_insns=min(self.limit, self.plan.max_insns))
        if profile is not None:
            return replace(plan, profile=profile, without=())
        merged = dict(self.plan.without) | {one.text: answer for one, answer in changes.items()}
        return replace(plan, without=tuple(sorted(merged.items())))

    def boots(self, many: Sequence[Changes]) -> list[bool]:
        """Which of these sets of changes leave a kernel that reaches the plan's goal."""
        return [trial.boots for trial in self.run([(changes, self.variant(changes, observers=False)) for changes in many])]

    def observe(self, many: Sequence[Changes]) -> list[Trial]:
        """The same with records."""
        return self.run([(changes, self.variant(changes, observers=True)) for changes in many])

    def run(self, many: Sequence[tuple[Changes, Plan]]) -> list[Trial]:
        """Run plans; results in their order. Raises Interrupted and MachineError."""
        keys = [(plan.without, plan.fail, plan.profile, plan.max_insns, plan.observers) for _, plan in many]
        todo = {key: one for key, one in zip(keys, many, strict=True) if key not in self._known}
        for key, (changes, plan) in list(todo.items()):
            record = self.cache.find(plan, self.registry) if self.cache is not None and self.registry is not None else None
            if record is not None:
                del todo[key]
                self._note(key, changes, Trial(record.outcome.met, record))
        if self.pool is None:
            for key, (changes, plan) in todo.items():
                self._keep(key, changes, plan, attempt(plan, self.interrupt, self.registry))
        elif todo:
            self._pooled(self.pool, todo)
        return [self._known[key] for key in keys]

    def _keep(self, key: tuple[Any, ...], changes: Changes, plan: Plan, trial: Trial | None) -> None:
        if trial is None or (self.interrupt is not None and self.interrupt.is_set()):
            raise Interrupted
        if self.cache is not None and self.registry is not None and trial.record is not None:
            self.cache.keep(plan, trial.record, self.registry)
        self._note(key, changes, trial)

    def _note(self, key: tuple[Any, ...], changes: Changes, trial: Trial) -> None:
        self._known[key] = trial
        self.count += 1
        self.progress.trial(changes, boots=trial.boots)

    def _pooled(self, pool: Workers, todo: Mapping[tuple[Any, ...], tuple[Changes, Plan]]) -> None:
        waiting: dict[Future[Trial | None], tuple[Any, ...]] = {
            pool.submit(_work, plan): key for key, (_, plan) in todo.items()
        }
        while waiting:
            done, _ = wait(waiting, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            if self.interrupt is not None and self.interrupt.is_set():
                raise Interrupted
            for future in done:
                key = waiting.pop(future)
                try:
                    self._keep(key, *todo[key], future.result())
                except BrokenProcessPool as error:
                    hint = "there may not be enough memory for so many jobs"
                    raise MachineError("a worker process died", hint=hint) from error


@contextmanager
def trials(
    plan: Plan,
    *,
    jobs: int,
    progress: SurfaceProgress,
    interrupt: Interrupt | None,
    registry: Registry | None,
    cache: RecordCache | None = None,
) -> Iterator[Trials]:
    """Trials of a plan, at most `jobs` at a time; with one job in this process, and only then with `registry`. With a
    cache, which needs the registry, those that it knows are not run.
    """
    if jobs <= 1:
        yield Trials(plan, progress, interrupt, registry, None, cache)
        return
    with workers(jobs, _begin) as pool:
        yield Trials(plan, progress, interrupt, registry, pool, cache)
