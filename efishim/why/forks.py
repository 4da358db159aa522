"""Runs experiments in forks of the process whose machines stand at the meeting point."""

from __future__ import annotations

import os
import pickle
import selectors
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from efishim.errors import MachineError
from efishim.lab.observe.limits import Interrupt, Interrupted
from efishim.lab.workers import die_with_parent
from efishim.why.behind import Behind

CRASHED = Behind({}, "crashed", "the emulator ended without an answer", 0)
PIECE = 1 << 16
POLL_SECONDS = 0.2
"""How often it is looked whether the user wants no more."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Failed:
    why: str


@dataclass
class _Child:
    pid: int
    number: int
    data: bytearray


def in_forks(
    work: Sequence[Callable[[], Result]],
    jobs: int,
    lost: Result,
    done: Callable[[], None] = lambda: None,
    interrupt: Interrupt | None = None,
) -> list[Result]:
    """The results of each piece of work, every one done in a process of its own; at most `jobs` at a time. The work sees this
    process's memory as it is now, and leaves it as it is. A process that ends without a result gives `lost`. Raises
    MachineError with what the work raised, and Interrupted, with every process ended.
    """
    results = [lost] * len(work)
    waiting = list(range(len(work)))
    with selectors.DefaultSelector() as selector:
        running: dict[int, _Child] = {}
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    number = waiting.pop(0)
                    pid, pipe = _fork(work[number])
                    running[pipe] = _Child(pid, number, bytearray())
                    selector.register(pipe, selectors.EVENT_READ)
                if interrupt is not None and interrupt.is_set():
                    raise Interrupted
                for key, _ in selector.select(POLL_SECONDS):
                    pipe = key.fd
                    piece = os.read(pipe, PIECE)
                    child = running[pipe]
                    child.data += piece
                    if not piece:
                        selector.unregister(pipe)
                        os.close(pipe)
                        del running[pipe]
                        os.waitpid(child.pid, 0)
                        results[child.number] = _answer(bytes(child.data), lost)
                        done()
        finally:
            for pipe, child in running.items():
                os.close(pipe)
                os.kill(child.pid, 9)
                os.waitpid(child.pid, 0)
    return results


def _answer(data: bytes, lost: Result) -> Result:
    if not data:
        return lost
    found = pickle.loads(data)  # noqa: S301 - it comes from a fork of this very process
    if isinstance(found, _Failed):
        raise MachineError(found.why)
    assert isinstance(found, type(lost))
    return found


def _fork(work: Callable[[], object]) -> tuple[int, int]:
    read, write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(write)
        return pid, read
    status = 1
    try:
        die_with_parent(parent)
        os.close(read)
        try:
            answer: object = work()
        except Exception as error:  # noqa: BLE001 - it is raised in the parent
            answer = _Failed(f"an experiment failed: {error}")
        with os.fdopen(write, "wb") as stream:
            pickle.dump(answer, stream)
        status = 0
    finally:
        os._exit(status)
