"""Runs a guest from breakpoint to breakpoint until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from efishim.oracle.cpu import QemuCpu
from efishim.oracle.qemu import Qemu
from efishim.wire.x86 import CR0_PE

SLICE = 0.01
"""Host seconds between two looks at the memory of a guest that something is expected of which no breakpoint tells."""

Handler = Callable[[], None]


@dataclass
class Session:
    """Handlers run while the guest is stopped; each stays until it is taken away with `off`."""

    qemu: Qemu
    registers: dict[str, int] = field(default_factory=dict)
    """Those of the debug stub, at the current stop."""
    finished: bool = False
    """Set by a handler that has seen enough."""
    _handlers: dict[int, list[Handler]] = field(default_factory=dict)
    _expected: tuple[Callable[[], bool], Handler] | None = None
    _looked: float = 0.0

    def on(self, address: int, handler: Handler) -> None:
        """Call `handler` whenever the instruction at this linear address is next."""
        self._handlers.setdefault(address, []).append(handler)
        self.qemu.gdb.insert(address)

    def off(self, address: int) -> None:
        """Forget the handlers of an address."""
        if self._handlers.pop(address, None) is not None:
            self.qemu.gdb.remove(address)

    def expect(self, sight: Callable[[], bool], handler: Handler) -> None:
        """Call `handler` once, with the guest stopped, soon after `sight` says True; it looks at memory while the guest
        runs, so the handler has to look again. A later expectation takes the place of an earlier one.
        """
        self._expected = sight, handler

    def cpu(self) -> QemuCpu:
        """The whole state of the stopped processor."""
        return QemuCpu(self.qemu.gdb, self.qemu.qmp)

    @property
    def place(self) -> int:
        """The linear address of the next instruction."""
        registers = self.registers
        if registers["cr0"] & CR0_PE:
            # Every entry and every kernel here runs on flat code segments once it left real mode.
            return registers["rip"]
        return (registers["cs"] << 4) + registers["rip"]

    def run(self) -> str:
        """Run until the guest ends (QEMU's ShutdownCause is given back) or a handler says `finished` (then empty).

        Raises OracleTimeout, OracleError.
        """
        gdb, qmp = self.qemu.gdb, self.qemu.qmp
        while not self.finished:
            gdb.resume()
            self._wait()
            qmp.events()
            self.registers = gdb.registers()
            place = self.place
            handlers = list(self._handlers.get(place, ()))
            if not handlers:
                qmp.execute("query-status")  # reads all events that came before its answer
                if qmp.shutdown_cause:
                    return qmp.shutdown_cause
            for handler in handlers:
                handler()
            if self.finished:
                break
            if place in gdb.breakpoints:
                gdb.remove(place)
                gdb.step()
                if place in self._handlers:
                    gdb.insert(place)
        return ""

    def _wait(self) -> None:
        """Until a breakpoint is reached, or the guest ends."""
        gdb = self.qemu.gdb
        while self._expected is not None:
            stopped = gdb.wait_stop(SLICE)
            if self._expect(stopped=stopped):
                return
        gdb.wait_stop()

    def _expect(self, *, stopped: bool) -> bool:
        """Look for what is expected, if it is time to. Says whether the guest stands at a breakpoint."""
        now = time.monotonic()
        if self._expected is None or now - self._looked < SLICE:
            return stopped
        self._looked = now
        sight, handler = self._expected
        if not sight():
            return stopped
        gdb = self.qemu.gdb
        if not stopped:
            gdb.interrupt()
        self.registers = gdb.registers()
        self._expected = None
        handler()
        if stopped or self.place in gdb.breakpoints:
            return True
        gdb.resume()
        return False
