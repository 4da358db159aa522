"""Virtual time: converts instructions and waiting to nanoseconds, and provides the time stamp counter.

The processor executes `INSNS_PER_US` instructions per virtual microsecond, unless told otherwise. A guest that only waits
(RDTSC or PAUSE in a tight loop, HLT) is moved forward instead of being executed; a delay loop then ends a little late, never
early, as on a real machine under load.
"""

from __future__ import annotations

from efishim.machine.clock import Clock
from efishim.machine.native import NEVER, State

INSNS_PER_US = 4000
NS_PER_US = 1000
TSC_READ_NS = 12
PORT_ACCESS_NS = 1000
"""About what a cycle on an ISA or LPC bus takes. Loops that poll a timer depend on it for their number of turns."""
SPIN_WINDOW = 400
SPIN_PATIENCE = 4
SPIN_FIRST_STEP_NS = 100
SPIN_LONGEST_STEP_NS = 200_000
NS = 1_000_000_000


def first_jitter(seed: int) -> int:
    """What the jitter of RDTSC begins with."""
    return (seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) & NEVER or 1


class Timekeeper:
    """Joins the instruction counter and the clock. `skew` is the part of `now` that no instruction accounts for."""

    def __init__(self, clock: Clock, state: State, *, tsc_hz: int, seed: int, insns_per_us: int = INSNS_PER_US) -> None:
        self._clock = clock
        self._state = state
        self.tsc_hz = tsc_hz
        self._insns_per_us = insns_per_us
        self.tsc_offset = 0
        self.skew = 0
        self._planned = NEVER
        self._jitter = first_jitter(seed)
        self._spins: dict[int, list[int]] = {}

    def begin(self, insns: int, when: int, seed: int) -> None:
        """From here on `insns` instructions ran and it is `when` (ns), whatever was before. The clock is there already."""
        self._state.insns = insns
        self.skew = when - self._executing(insns)
        self._jitter = first_jitter(seed)
        self._spins.clear()

    def _executing(self, insns: int) -> int:
        """The nanoseconds that so many instructions take."""
        return insns * NS_PER_US // self._insns_per_us

    def _insns_in(self, ns: int) -> int:
        """The least number of instructions that take so long."""
        return -(-ns * self._insns_per_us // NS_PER_US)

    def now(self) -> int:
        """Nanoseconds since power-on; brings the clock up to date.

        Never backwards, although the instruction counter is when a block turns out to have been left early: a device
        would plan its next event for a moment that the clock has passed, again and again.
        """
        self._clock.advance_to(self.skew + self._executing(self._state.insns))
        return self._clock.now

    def insns_at(self, when: int) -> int:
        """The instruction count at which `when` (ns) is reached if the guest only executes."""
        return max(0, self._insns_in(when - self.skew))

    def plan(self, deadline: int | None) -> None:
        """The next event is due at `deadline` (ns): have the native hook stop there."""
        self._planned = NEVER if deadline is None else deadline
        self._moved()

    def _moved(self) -> None:
        """Time moved without instructions, so what is planned comes after fewer of them."""
        state = self._state
        due = self._insns_in(self._planned - self.skew)
        if due < state.limit:
            state.limit = due = max(due, 0)
            state.deadline = min(state.deadline, due)

    def skip_to(self, when: int) -> None:
        """Move forward to `when` (ns) without executing."""
        self.skew += max(0, when - self.now())
        self._clock.advance_to(when)

    def tsc(self) -> int:
        """The time stamp counter now."""
        return (self.now() * self.tsc_hz // NS + self.tsc_offset) & NEVER

    def read_tsc(self, code: int) -> int:
        """RDTSC at address `code`: costs a few nanoseconds, with deterministic jitter, and notices waiting loops."""
        x = self._jitter
        x ^= (x << 13) & NEVER
        x ^= x >> 7
        x ^= (x << 17) & NEVER
        self._jitter = x
        self.skew += TSC_READ_NS + (x & 7)
        self._moved()
        self.spin(code)
        return (self.now() * self.tsc_hz // NS + self.tsc_offset + (x >> 8 & 1)) & NEVER

    def spin(self, code: int) -> None:
        """The guest may be waiting at `code`; when it keeps coming back, time moves in growing steps.

        Never past the next event, so that whatever is due happens at its moment.
        """
        insns = self._state.insns
        place = self._spins.get(code)
        if place is None:
            self._spins[code] = [insns, 0]
            return
        if insns - place[0] < SPIN_WINDOW:
            place[1] += 1
            if place[1] > SPIN_PATIENCE:
                step = min(SPIN_FIRST_STEP_NS << min(place[1] - SPIN_PATIENCE, 20), SPIN_LONGEST_STEP_NS)
                deadline = self._clock.next_deadline()
                if deadline is not None:
                    step = min(step, max(0, deadline - self.now()))
                self.skew += step
                self._moved()
        else:
            place[1] = 0
        place[0] = insns

    def port_access(self) -> None:
        """IN or OUT."""
        self.device_access(PORT_ACCESS_NS)

    def device_access(self, ns: int) -> None:
        """Takes a bus cycle, and what looked like waiting was polling, whose pace the device decides."""
        self._spins.clear()
        self.skew += ns
        self._moved()
        self._clock.advance_to(self.skew + self._executing(self._state.insns))
