"""Stops a run after an exact number of instructions, although whole blocks are executed.

The last blocks before the end are looked at before they run; the one that would go too far gets a hook at the first
instruction that must not run any more.
"""

from __future__ import annotations

from efishim.machine.blocks import BlockIndex
from efishim.machine.engine import Engine

LONGEST_BLOCK = 512
"""Instructions that Unicorn puts into one block at most (TCG_MAX_INSNS)."""


class Budget:
    """`max_insns` is the instruction count at which the run has to end."""

    def __init__(self, engine: Engine, blocks: BlockIndex, max_insns: int) -> None:
        self._engine = engine
        self._blocks = blocks
        self.max_insns = max_insns
        self._looked = False

    def limit(self) -> int:
        """The instruction count at which to stop next, in front of a block: `look` is to be called there."""
        insns = self._engine.state.insns
        if self.max_insns - insns > LONGEST_BLOCK:
            return self.max_insns - LONGEST_BLOCK
        looked, self._looked = self._looked, False
        return insns + looked

    def look(self) -> None:
        """The guest is at the start of a known block: if that goes too far, make it stop within."""
        engine = self._engine
        left = self.max_insns - engine.state.insns
        if not 0 < left <= LONGEST_BLOCK:
            return
        self._looked = True
        pc = engine.env.pc
        size, icount = engine.translate(pc)
        if icount > left:
            engine.break_at(pc, self._blocks.start(pc, size, left))

    def used_up(self, address: int) -> bool:
        """Is `address`, where the guest is about to go on, where it has to end? The count is corrected if so."""
        state = self._engine.state
        rest = self._blocks.not_executed(state.last_pc, state.last_entry, address, faulted=True)
        if state.insns - rest != self.max_insns:
            return False
        state.insns -= rest
        return True
