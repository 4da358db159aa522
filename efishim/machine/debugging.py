"""Stops the guest for a debugger, without changing what it does or what is counted (docs/adr/0018-the-debugger.md).

A block that has a breakpoint in it, or is stepped through, is translated anew with a hook before each of its instructions, and
the debugger is asked within that hook: the block goes on behind it as if nothing had been. Between two blocks the guest is
stopped by the same deadline that timers use. Such a stop is the debugger's alone if nothing else was due; the run loop
then goes on without asking anybody else, so that limits, clocks and interrupts come at the same moments as without a debugger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from efishim.machine.blocks import BlockIndex
from efishim.machine.code_watches import CodeWatches
from efishim.machine.disassembly import starts
from efishim.machine.engine import Engine
from efishim.machine.native import BlockFlag
from efishim.machine.watchpoints import WatchHit, Watchpoint, Watchpoints

PATIENCE = 4_000_000
"""Instructions after which debuggers are asked whether they want the guest to stop: some hundredths of a second."""
HOOKED_LIMIT = 64
"""Instructions of a block that are all hooked. The translator, which has room for so many operations, could cut a longer one,
and that would be another block; it gets hooks at its breakpoints only."""


class Why(Enum):
    """Why the guest is stopped."""

    START = auto()
    """Nothing has run yet."""
    BREAK = auto()
    STEP = auto()
    WATCH = auto()
    ASKED = auto()
    """A debugger wanted it to."""
    AGAIN = auto()
    """As before, but outside of the emulation: `Then.OUTSIDE` was the answer."""


class Then(Enum):
    """What a debugger wants next."""

    CONTINUE = auto()
    STEP = auto()
    """Stop again when one instruction has been executed."""
    OUTSIDE = auto()
    """Stop here again, where the guest may be changed; the run may also end."""
    END = auto()
    """End the run."""


@dataclass(frozen=True)
class Halt:
    """The guest is stopped before the instruction at the linear address `at`, after `insns` instructions. `inside` the
    emulation it may be looked at, but not changed.
    """

    why: Why
    at: int
    insns: int
    inside: bool
    hit: WatchHit | None = None


class Debugger(Protocol):
    """A debugger that inspects the stopped guest."""

    def attention(self) -> bool:
        """Asked every now and then: shall the guest be stopped?"""

    def stopped(self, halt: Halt) -> Then:
        """The guest is stopped, for whichever debugger; it goes on when this returns."""

    def over(self) -> bool:
        """Does the run end for a reason of the host's, which the run loop will find?"""


class Debugging:
    """The stops of one machine. Breakpoints are linear addresses, counted: each debugger removes what it inserted."""

    def __init__(self, engine: Engine, blocks: BlockIndex, watches: CodeWatches) -> None:
        self._engine = engine
        self._blocks = blocks
        self._watches = watches
        self._debuggers: list[Debugger] = []
        self._places: Counter[int] = Counter()
        self._points: Counter[Watchpoint] = Counter()
        self._watchpoints: Watchpoints | None = None
        self._stepping = False
        self._again = False
        self._started = False
        self._seen: tuple[int, int] | None = None
        """Where the debuggers were asked last, and after how many instructions: not again before one was executed."""
        self._hooked: set[int] = set()
        """Blocks whose translation has a hook before each instruction."""
        self._due = 0
        self.ended = False
        """A debugger ended the run."""
        self.written = False
        """A debugger changed registers or memory."""
        watches.all_blocks = True

    def attach(self, debugger: Debugger) -> None:
        """One more. They are asked in the order in which they came."""
        self._debuggers.append(debugger)

    def insert(self, linear: int) -> None:
        """Stop before the instruction at a linear address."""
        self._places[linear] += 1
        env, native = self._engine.env, self._engine.native
        for pc, size in native.times_entered():
            if env.linear_of(pc) <= linear < env.linear_of(pc) + size:
                self._hooked.discard(pc)
                native.mark(pc, BlockFlag.WATCHED)

    def remove(self, linear: int) -> None:
        """Take back one `insert`."""
        self._places[linear] -= 1
        self._places += Counter()

    def watch(self, point: Watchpoint) -> None:
        """Stop behind each instruction that touches it. Only outside of the emulation. Raises MachineError."""
        self._points[point] += 1
        self._set_watchpoints()

    def unwatch(self, point: Watchpoint) -> None:
        """Take back one `watch`. Only outside of the emulation."""
        self._points[point] -= 1
        self._points += Counter()
        self._set_watchpoints()

    def _set_watchpoints(self) -> None:
        engine = self._engine
        if self._watchpoints is None:
            self._watchpoints = Watchpoints(engine.uc._uch, engine.at_every_instruction)
        self._watchpoints.set(self._points)
        engine.every_instruction = bool(self._points)
        self.changed()

    def wrote(self) -> None:
        """Memory was changed by a debugger, code perhaps."""
        self.written = True
        self.changed()

    def changed(self) -> None:
        """Code, or what is known of it, was changed by a debugger."""
        self._engine.drop_all()
        self._hooked.clear()

    # Asked by the run loop

    def wanted(self, pc: int, size: int) -> bool:
        """A block was translated: shall it get hooks?"""
        self._hooked.discard(pc)
        return self._wanted(pc, size)

    def _wanted(self, pc: int, size: int) -> bool:
        linear = self._engine.env.linear_of(pc)
        return self._stepping or any(linear <= place < linear + size for place in self._places)

    def hook(self, pc: int) -> bool:
        """The guest is stopped at the start of this block: give it hooks, if anybody wants them."""
        size, _ = self._engine.translate(pc)
        if not self._wanted(pc, size):
            return False
        found: Sequence[int] = starts(self._engine.processor.read(pc, size), pc, self._engine.processor.mode)
        if len(found) > HOOKED_LIMIT:
            linear_of = self._engine.env.linear_of
            found = [one for one in found if linear_of(one) in self._places]
        self._hooked.add(pc)
        self._engine.break_at(pc, *found)
        return True

    def within(self, address: int) -> bool:
        """Before an instruction with a hook. True when the guest is to leave the emulation here; it is counted so then."""
        engine = self._engine
        state, env = engine.state, engine.env
        hit = self._watchpoints.take() if self._watchpoints else None
        linear = env.linear_of(address)
        if hit is None and not self._stepping and linear not in self._places:
            return False
        rest = self._blocks.not_executed(state.last_pc, state.last_entry, address, faulted=True)
        insns = state.insns - rest
        if self._seen == (linear, insns):
            return False
        why = Why.WATCH if hit is not None else Why.BREAK if linear in self._places else Why.STEP
        then = self._ask(Halt(why, linear, insns, True, hit))
        if then in (Then.OUTSIDE, Then.END):
            state.insns = insns
            engine.stop()
            return True
        if then is Then.STEP:
            state.limit = min(state.limit, state.insns)
            state.deadline = min(state.deadline, state.limit)
        return False

    def between(self) -> None:
        """Before the guest goes on from outside of the emulation."""
        engine = self._engine
        linear, insns = engine.env.linear, engine.state.insns
        hit = self._watchpoints.take() if self._watchpoints else None
        if self._again:
            self._ask(Halt(Why.AGAIN, linear, insns, False, None))
        elif not self._started:
            self._started = True
            self._ask(Halt(Why.START, linear, insns, False, None))
        elif hit is not None:
            self._ask(Halt(Why.WATCH, linear, insns, False, hit))
        elif self._stepping and self._seen != (linear, insns):
            why = Why.BREAK if linear in self._places else Why.STEP
            self._ask(Halt(why, linear, insns, False, None))
        elif any([debugger.attention() for debugger in self._debuggers]):  # noqa: C419 - each of them is to be asked
            self._ask(Halt(Why.ASKED, linear, insns, False, None))

    def over(self) -> bool:
        """Shall the run loop look whether the run ends?"""
        return self.ended or any(debugger.over() for debugger in self._debuggers)

    def bound(self) -> None:
        """Have the guest stop soon, whatever it is due for."""
        state, pc = self._engine.state, self._engine.env.pc
        self._due = state.limit
        soon = state.insns + (1 if self._stepping else PATIENCE)
        if soon < state.limit:
            state.limit = soon
            state.deadline = min(state.deadline, soon)
        if self._stepping and pc not in self._hooked:
            self._engine.native.mark(pc, BlockFlag.WATCHED)

    def unbound(self) -> None:
        """Take back what `bound` did, before the clock says again what is due."""
        state = self._engine.state
        state.limit = self._due
        state.deadline = 0 if state.attention else state.limit

    def _ask(self, halt: Halt) -> Then:
        self._again = False
        self._seen = (halt.at, halt.insns)
        answers = {debugger.stopped(halt) for debugger in self._debuggers}
        self._stepping = Then.STEP in answers
        if Then.END in answers:
            self.ended = True
            return Then.END
        if Then.OUTSIDE in answers:
            self._again = True
            return Then.OUTSIDE
        return Then.STEP if self._stepping else Then.CONTINUE
