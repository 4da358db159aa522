"""Noticing that a guest will never end by itself, and the limits that the user set."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from efishim.machine.cpu import GuestFault
from efishim.machine.machine import Machine, Stop

IDLE_NS = 120 * 1_000_000_000
"""A guest that computes for this long in its own time without running anything new is not going anywhere."""
_NOTHING = re.compile(rb"(?:\x90|\xf3\x90|\xfa|\x0f\x1f\x00)*\xeb(.)$", re.DOTALL)
"""A block of nothing but NOP, PAUSE and CLI that ends in a short jump."""


class Interrupt(Protocol):
    """Something that is set when the user wants the run to end (threading.Event)."""

    def is_set(self) -> bool:
        """True from then on."""


class Watchdog:
    """Asked between slices of a run; gives the reason to end it, or None."""

    def __init__(
        self, machine: Machine, *, timeout: float, interrupt: Interrupt | None, seconds: Callable[[], float]
    ) -> None:
        self._machine = machine
        self._timeout = timeout
        self._interrupt = interrupt
        self._seconds = seconds
        self._blocks = 0
        self._since = 0
        self._halts = 0

    def __call__(self) -> Stop | None:
        """A reason to stop now."""
        if self._interrupt is not None and self._interrupt.is_set():
            return Stop("interrupted", "the user ended the run")
        if self._timeout and self._seconds() > self._timeout:
            return Stop("timeout", f"{self._timeout:g} seconds of host time were used up")
        return self._endless()

    def _endless(self) -> Stop | None:
        machine = self._machine
        state = machine.engine.state
        now = machine.clock.now
        if state.log_used != self._blocks or machine.halts != self._halts:
            self._blocks, self._halts, self._since = state.log_used, machine.halts, now
            return None
        rip = machine.cpu.get("rip")
        if now - self._since > IDLE_NS:
            return Stop("endless loop", f"no new code for {IDLE_NS // 10**9} seconds of the guest's time, around {rip:#x}")
        if machine.insns and not machine.engine.env.eflags & 0x200 and self._jumps_to_itself(rip):
            return Stop("endless loop", f"interrupts are off and the code at {rip:#x} jumps to itself")
        return None

    def _jumps_to_itself(self, rip: int) -> bool:
        cpu = self._machine.cpu
        try:
            code = cpu.read(rip, 2)
            for size in range(2, 12):
                found = _NOTHING.match(code)
                if found is not None:
                    target = rip + size + int.from_bytes(found[1], "little", signed=True)
                    return target == rip or (rip - 16 <= target < rip and self._jumps_to_itself(target))
                code = cpu.read(rip, size + 1)
        except GuestFault:
            return False
        return False
