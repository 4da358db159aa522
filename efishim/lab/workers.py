"""Worker processes: start, signal handling, and termination with their parent.

They are started afresh (`spawn`), so nothing of the caller's state can leak into a run. Python starts them, and
multiprocessing's resource tracker, with `-c`, which puts the current directory in front of all others in sys.path: a
`struct.py` that lies beside a kernel would run. PYTHONSAFEPATH forbids it (Python documentation, "Command line and
environment").
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from efishim.errors import UsageError
from efishim.lab.observe.limits import Interrupt

SAFE_PATH = "PYTHONSAFEPATH"
PR_SET_PDEATHSIG = 1

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Workers:
    """A pool of processes, an event with which the caller asks them to end what they do, and a queue of what they report."""

    executor: ProcessPoolExecutor
    stop: Any
    events: Any

    def submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call a function in a worker."""
        return self.executor.submit(_do, work, arguments)


@contextmanager
def workers(jobs: int, initializer: Callable[[Interrupt, Any], None]) -> Iterator[Workers]:
    """At most `jobs` worker processes. `initializer(interrupt, events)` is called once in each, with the flag that
    asks it to stop, and the queue for reports. If the block is left by an exception, work in progress is
    abandoned.

    Raises UsageError where workers cannot be started safely.
    """
    if sys.flags.ignore_environment and not sys.flags.safe_path:
        raise UsageError(
            "Python was started with -E, and processes that it starts would run Python files of the current directory",
            hint="start it with -P or -I too, or run one job at a time with -j 1",
        )
    with _safe_path(), _no_main_module():
        context = multiprocessing.get_context("spawn")
        before = set(multiprocessing.active_children())
        stop, events = context.Event(), context.Queue()
        executor = ProcessPoolExecutor(jobs, context, _begin, (initializer, stop, events))
        try:
            yield Workers(executor, stop, events)
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.kill()
            raise
        finally:
            stop.set()
            executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _safe_path() -> Iterator[None]:
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Workers that start meanwhile do not import the caller's main module: they need nothing of it, and a script that runs
    something when it is imported would run it once more in each of them.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    main.__spec__ = None
    main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        main.__dict__.update(kept)


class _Worker:
    """In a worker: what it was told by signals. Set by the parent through its event, or by SIGTERM."""

    stop: Any = None
    busy = False
    terminated = False

    def is_set(self) -> bool:
        """Shall what is going on end, with what it has?"""
        return _Worker.terminated or bool(self.stop.is_set())


def _begin(initializer: Callable[[Interrupt, Any], None], stop: Any, events: Any) -> None:
    """In each worker, once. A terminal sends its signals to everybody; only the parent decides what they mean."""
    parent = multiprocessing.parent_process()
    die_with_parent(None if parent is None else parent.pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    _Worker.stop = stop
    initializer(_Worker(), events)


def die_with_parent(parent: int | None) -> None:
    """In a child: should the parent be killed, the child ends too, as its result has no taker (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and parent != os.getppid():
        os._exit(1)  # it died before that


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """`timeout` and CI systems send SIGTERM to a whole group: what runs ends with its partial record; the second time, at
    once.
    """
    if _Worker.terminated or not _Worker.busy:
        os._exit(128 + signal.SIGTERM)
    _Worker.terminated = True


def _do(work: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    _Worker.busy = True
    try:
        return work(*arguments)
    finally:
        _Worker.busy = False
        if _Worker.terminated:
            signal.alarm(60)  # its default action ends the process; a pool that loses one process loses what the others do
