"""efishim as a library: `import efishim` finds these names when they are used (docs/library.md)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from efishim.cli.kernel import find_image
from efishim.compare.added import hold_to_counter_cases, rules_of
from efishim.compare.build import build
from efishim.compare.model import Comparison
from efishim.errors import UsageError
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.loader_plan import image_of_disk
from efishim.lab.plan.plan import Blob
from efishim.lab.progress import NoProgress
from efishim.lab.record import Milestone, Record, read_record
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins

Kernel = str | os.PathLike[str] | None
"""A path, a reference such as deb:PACKAGE, or None for the embedded probe kernel."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C ended a run. `record` is its record up to then."""

    def __init__(self, record: Record) -> None:
        super().__init__("the run was interrupted")
        self.record = record


class _Interruption:
    """Set by Ctrl-C, or when the caller's own is."""

    def __init__(self, other: Interrupt | None) -> None:
        self._other = other
        self.by_signal = False

    def is_set(self) -> bool:
        return self.by_signal or (self._other is not None and self._other.is_set())

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.by_signal:
            raise KeyboardInterrupt
        self.by_signal = True


def run(
    kernel: Kernel = None,
    *,
    route: str | None = None,
    platform: str | None = None,
    cmdline: str | None = None,
    initrds: Sequence[str | os.PathLike[str]] | None = None,
    modules: Sequence[str] = (),
    loader: str | None = None,
    disk: str | os.PathLike[str] | None = None,
    memory: str = "512M",
    until: str = Milestone.SHUTDOWN.value,
    max_insns: int | None = None,
    timeout: float | None = None,
    seed: int = 0,
    options: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    setup_data: Sequence[str] = (),
    observers: bool = True,
    console: Callable[[bytes], None] | None = None,
    interrupt: Interrupt | None = None,
) -> Record:
    """Boot a kernel through one route, and give its record.

    `route` is PROVIDER, PROVIDER/ENTRY or PROVIDER/ENTRY@PLATFORM; everything else is as for `efishim run`. `initrds` left out
    is the embedded reporting init, an empty sequence no ramdisk; `modules` has FILE=CMDLINE texts. `loader` is a real boot
    loader in front of the kernel (LOADER or LOADER:WAY), `disk` an image that firmware boots from, with the kernel on it
    where `kernel` is None; both choose the way themselves, so that there is no `route`. `options` maps GROUP.NAME to a value,
    `setup_data` has TYPE=FILE texts. `console` gets the guest's serial output as it comes. `interrupt` (a threading.Event, say)
    ends the run once it is set, with a partial record.

    Raises EfishimError: UsageError, ImageError, RouteError and so on, each with one sentence and a hint. A guest that does not
    reach its goal raises nothing, `record.outcome` says so. Ctrl-C raises Interrupted, which has the record so far; only in the
    main thread, and only where Python's own handler of SIGINT is in place.
    """
    provider, entry, place = _route(route)
    if place is not None and platform is not None and place != platform:
        raise UsageError(f"the route says the platform {place}, and platform={platform!r} another one")
    words = Words(
        provider=provider,
        entry=entry,
        platform=platform or place or "pc",
        cmdline=cmdline,
        initrds=tuple(os.fspath(path) for path in initrds or ()),
        modules=tuple(modules),
        loader=loader,
        disk=None if disk is None else os.fspath(disk),
        no_initrd=initrds is not None and not initrds,
        memory=memory,
        until=until,
        max_insns=None if max_insns is None else str(max_insns),
        timeout=timeout,
        seed=seed,
        options=tuple(f"{name}={value}" for name, value in (options or {}).items()),
        without=tuple(without),
        setup_data=tuple(setup_data),
        no_observers=not observers,
    )
    if until not in {one.value for one in Milestone}:
        raise UsageError(f"there is no milestone {until!r}", hint=", ".join(one.value for one in Milestone))
    registry = load_plugins()
    name = None if kernel is None else os.fspath(kernel)

    def image() -> Blob:
        if name is None and words.disk is not None:
            return image_of_disk(words.disk)
        return find_image(name, NoProgress(), registry)

    plan = make_plan(registry, image, words)
    with _interruptible(interrupt) as interruption:
        record = run_plan(plan, console=console, interrupt=interruption, registry=registry)
    if interruption.by_signal:
        raise Interrupted(record)
    return record


def diff(
    *subjects: Record | Kernel,
    routes: Sequence[str] = (),
    until: str = Milestone.SHUTDOWN.value,
    memory: str = "512M",
    seed: int = 0,
    cmdline: str | None = None,
) -> Comparison:
    """Compare records, given as they are or as paths; or, with `routes`, one kernel booted through each of them.

    The first is what the others are held against. `clean` of the result is True when every run reached its goal and every
    difference is explained. Raises EfishimError, and Interrupted as `run` does.
    """
    if routes:
        if len(subjects) > 1 or any(isinstance(one, Record) for one in subjects):
            raise UsageError("routes are for one kernel, and records have theirs")
        kernel = subjects[0] if subjects else None
        assert not isinstance(kernel, Record)
        found = [run(kernel, route=one, until=until, memory=memory, seed=seed, cmdline=cmdline) for one in routes]
    else:
        found = [_record(one) for one in subjects]
    if len(found) < 2:
        raise UsageError("one record is compared with nothing", hint="give two or more records, or one kernel and its routes")
    rules = rules_of(load_plugins())
    hold_to_counter_cases(rules, found)
    return build(found, rules=rules)


def _record(one: Record | Kernel) -> Record:
    if isinstance(one, Record):
        return one
    if one is None:
        raise UsageError("None is no record")
    return read_record(os.fspath(one))


def _route(text: str | None) -> tuple[str | None, str | None, str | None]:
    """Provider, entry and platform."""
    way, _, platform = (text or "").partition("@")
    provider, _, entry = way.partition("/")
    return provider or None, entry or None, platform or None


@contextmanager
def _interruptible(other: Interrupt | None) -> Iterator[_Interruption]:
    """Ctrl-C ends the run and not the program, if the program has left that to Python."""
    interruption = _Interruption(other)
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interruption
        return
    signal.signal(signal.SIGINT, interruption.handle)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


__all__ = ["Comparison", "Interrupted", "Record", "diff", "run"]
