"""Exact instruction counts. The native hook counts a block when it begins; what of it did not run is taken back here."""

from __future__ import annotations

from efishim.machine.blocks import BlockIndex
from efishim.machine.engine import Engine


class InstructionCount:
    """The count of one machine, corrected whenever a block ends early."""

    def __init__(self, engine: Engine, blocks: BlockIndex) -> None:
        self._engine = engine
        self._blocks = blocks

    def stopped(self, *, faulted: bool) -> None:
        """The block that began last ended before the instruction that is next; `faulted` when that one failed."""
        self.stopped_at(self._engine.env.pc, faulted=faulted)

    def stopped_at(self, address: int, *, faulted: bool) -> None:
        """Likewise, with the next instruction at `address`."""
        state = self._engine.state
        state.insns -= self._blocks.not_executed(state.last_pc, state.last_entry, address, faulted=faulted)

    def store_lost(self) -> bool:
        """A store to ROM: Unicorn left it out, and stopped behind the block or, if that has sites, at the store itself.

        True when the block was over with a HLT behind the store.
        """
        state, env = self._engine.state, self._engine.env
        pc, size = state.last_pc, self._blocks.size(state.last_entry)
        if pc <= env.pc < pc + size and self._engine.has_sites(pc, size):
            env.pc = self._blocks.next_start(pc, size, env.pc)
            self.stopped(faulted=False)
            return False
        return env.pc == pc + size and self._blocks.ends_in_halt(pc, size)

    def halted(self) -> bool:
        """Did a HLT end the block that began last, rather than a stop from outside in the middle?"""
        state, pc = self._engine.state, self._engine.env.pc
        if pc == state.last_pc + self._blocks.size(state.last_entry) and self._blocks.ends_in_halt(
            state.last_pc, self._blocks.size(state.last_entry)
        ):
            return True
        self.stopped(faulted=False)
        return False

    def meet(self, pc: int) -> None:
        """A block that the native hook does not know.

        Unicorn reports no edge for the first block after a flush: translate it anew with the edge hook listening.
        """
        engine, state = self._engine, self._engine.state
        size = state.unknown_size & 0xFFFF
        translated, icount = engine.translate(pc)
        if size == translated:
            engine.learn(pc, size, icount)
            return
        # A store into its own block: Unicorn leaves the block there and repeats the one instruction in a block made for
        # this once. What remained of the first block is counted again behind it, so it is taken back here.
        icount = self._blocks.count(pc, size)
        engine.learn(pc, size, icount)
        rest = self._blocks.not_executed(state.last_pc, state.last_entry, pc, faulted=True)
        state.insns -= rest
        engine.native.count_as(pc, size, icount - rest)
