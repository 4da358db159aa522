"""The debuggers of a run: gdb's stub, and what prints breakpoints and traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from efishim.debug.link import Listener
from efishim.debug.monitor import Monitor
from efishim.debug.stub import Stub
from efishim.image.symbols import Symbols
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.milestones import Milestones, Moment
from efishim.lab.stops import Place, Places, Printer, Say, Trace
from efishim.machine.machine import Machine


@dataclass(frozen=True)
class DebugRequest:
    """What the user wants to see of a run while it runs. `wait` holds the guest before its first instruction until gdb lets
    it go on; `say` takes lines of text, `write` those of the trace.
    """

    say: Say
    write: Say
    breaks: tuple[Place, ...] = ()
    trace: Trace | None = None
    listener: Listener | None = None
    wait: bool = False


class Debuggers:
    """Those of one run."""

    def __init__(self) -> None:
        self._stub: Stub | None = None

    @property
    def paused(self) -> float:
        """Seconds of host time in which the guest was stopped for gdb; no limit counts them."""
        return self._stub.paused if self._stub is not None else 0.0

    @contextmanager
    def watching(
        self,
        request: DebugRequest | None,
        machine: Machine,
        names: AddressNames,
        milestones: Milestones,
        symbols: Callable[[], Symbols | None],
        over: Callable[[], bool],
    ) -> Iterator[None]:
        """While the guest runs. Raises UsageError for a symbol that the image does not have."""
        if request is None:
            yield
            return
        places = Places(names, symbols)
        if request.breaks or request.trace is not None:
            printer = Printer(machine, places, request.breaks, request.trace, request.say, request.write)
            machine.debug(printer)
            for moment in (Moment.KERNEL, Moment.ADDRESSES):
                milestones.at(moment, printer.resolve)
        if request.listener is not None:
            monitor = Monitor(
                machine,
                lookup=lambda name: places.of(Place(name, None, name)),
                name=places.name,
            )
            self._stub = Stub(machine, request.listener, monitor, over=over, wait=request.wait, say=request.say)
            machine.debug(self._stub)
            held = ", the guest waits" if request.wait else ""
            request.say(f"gdb: target remote {request.listener.target}{held}")
        try:
            yield
        finally:
            if self._stub is not None:
                self._stub.finish()
