"""Detects guests that will never end on their own, and enforces the limits of a run."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from efishim.machine.cpu import GuestFault
from efishim.machine.machine import SLICE, Machine, Stop
from efishim.wire.x86 import EFLAGS_IF

SPIN_NS = 10 * 1_000_000_000
"""A guest that neither runs new code nor halts for this long in its own time goes nowhere: a kernel after a panic, say."""
WAIT_NS = 600 * 1_000_000_000
"""The same for one that halts in between, or lets the firmware wait."""
JUMP_NS = 2 * 1_000_000_000
"""The same for a jump to itself that interrupts may still leave."""
SAME_STATES = 20
"""So often is a guest with interrupts off found with the same registers, a slice apart, before it is given up."""
KEPT_STATES = 1024
_NOTHING = re.compile(rb"(?:\x90|\xf3\x90|\xfa|\x0f\x1f\x00)*\xeb(.)$", re.DOTALL)
"""A block of nothing but NOP, PAUSE and CLI that ends in a short jump."""


class Interrupt(Protocol):
    """Something that is set when the user wants the run to end (threading.Event)."""

    def is_set(self) -> bool:
        """True from then on."""


class Interrupted(Exception):
    """The user wants no more runs of a search."""


class RunLimits:
    """Asked between slices of a run; gives the reason to end it, or None."""

    def __init__(self, machine: Machine, *, timeout: float, interrupt: Interrupt | None, seconds: Callable[[], float]) -> None:
        self._machine = machine
        self._timeout = timeout
        self._interrupt = interrupt
        self._seconds = seconds
        self._blocks = 0
        self._since = 0
        self._waits = 0
        self._waited = 0
        self._skew = 0
        self._insns = 0
        self._states: dict[tuple[int, ...], int] = {}

    def __call__(self) -> Stop | None:
        """A reason to stop now."""
        return self._host() or self._endless()

    def overdue(self) -> bool:
        """Is there a reason that does not lie in the guest? May be asked at any moment, from another thread too."""
        return self._host() is not None

    def _host(self) -> Stop | None:
        if self._interrupt is not None and self._interrupt.is_set():
            return Stop("interrupted", "the user ended the run")
        if self._timeout and self._seconds() > self._timeout:
            return Stop("timeout", f"{self._timeout:g} seconds of host time were used up")
        return None

    def _endless(self) -> Stop | None:
        machine = self._machine
        state = machine.engine.state
        now = machine.clock.now
        if state.log_used != self._blocks:
            self._blocks, self._since, self._waited = state.log_used, now, now
            self._states.clear()
            return None
        if machine.halts != self._waits:
            self._waits, self._waited = machine.halts, now
            self._states.clear()
        rip = machine.cpu.get("rip")
        if now - self._since > WAIT_NS:
            return Stop("endless loop", f"no new code for {WAIT_NS // 10**9} seconds of the guest's time, around {rip:#x}")
        if now - self._waited > SPIN_NS:
            seconds = SPIN_NS // 10**9
            return Stop("endless loop", f"no new code and no halt for {seconds} seconds of the guest's time, around {rip:#x}")
        if not machine.insns:
            return None
        masked = not machine.engine.env.eflags & EFLAGS_IF
        if (masked or now - self._waited > JUMP_NS) and self._jumps_to_itself(rip):
            return Stop("endless loop", f"the code at {rip:#x} jumps to itself" + (" and interrupts are off" if masked else ""))
        if masked and self._same_state(rip):
            return Stop("endless loop", f"interrupts are off and the registers never change at {rip:#x}")
        return None

    def _same_state(self, rip: int) -> bool:
        """Has the guest been here too often with these registers? What waits for time or a device is no loop."""
        machine = self._machine
        ran, self._insns = machine.insns - self._insns, machine.insns
        if machine.time.skew != self._skew or ran < SLICE // 2 or len(self._states) >= KEPT_STATES:
            self._skew = machine.time.skew
            self._states.clear()
            return False
        env = machine.engine.env
        key = (rip, *env.regs)
        self._states[key] = self._states.get(key, 0) + 1
        return self._states[key] > SAME_STATES

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
