"""Breakpoints in guest code: an address, a byte pattern, or the first code of a program.

Each is met once. The native hook stops before a block that was marked; only what it cannot decide comes here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from efishim.machine.cpu import GuestFault
from efishim.machine.engine import Engine
from efishim.machine.native import BlockFlag
from efishim.wire.x86 import EFLAGS_VM

Callback = Callable[[], None]
WRAPPED = 1 << 32


@dataclass(frozen=True)
class _Pattern:
    """The first block where `pc & mask == value` and the code begins with `code`."""

    mask: int
    value: int
    code: bytes
    callback: Callable[[int], None]


class CodeWatches:
    """What is waited for, from before the machine is on."""

    def __init__(self) -> None:
        self._places: dict[int, list[Callback]] = {}
        self._patterns: list[_Pattern] = []
        self._engine: Engine | None = None
        self.on_ring3: Callback | None = None
        """Called before the first code of a program runs in ring 3."""
        self._on_block: Callable[[int, bytes], None] | None = None
        self._all_blocks = False

    @property
    def all_blocks(self) -> bool:
        """Is `judge` asked about every block, whatever is waited for?"""
        return self._all_blocks

    @all_blocks.setter
    def all_blocks(self, wanted: bool) -> None:
        self._all_blocks = wanted
        self._tell()

    def on_block(self, callback: Callable[[int, bytes], None] | None) -> None:
        """Call back with address and bytes of each block when it is translated, before it runs for the first time; None ends
        that. It costs a few microseconds for every new block.
        """
        self._on_block = callback
        self._tell()

    def connect(self, engine: Engine) -> None:
        """The machine is on: blocks will be translated."""
        self._engine = engine
        self._tell()

    def add(self, linear: int, callback: Callback) -> None:
        """Call back before the block that starts at this linear address runs."""
        self._places.setdefault(linear, []).append(callback)
        self._tell()
        if self._engine is not None:
            for pc in _names(linear):
                self._engine.native.mark(pc, BlockFlag.WATCHED)

    def discard(self, linear: int) -> None:
        """Remove the watch on a linear address."""
        if self._places.pop(linear, None) is not None:
            self._tell()

    def add_code(self, mask: int, value: int, code: bytes, callback: Callable[[int], None]) -> None:
        """Call back with the address of the first block where `pc & mask == value` and the bytes are `code`."""
        self._patterns.append(_Pattern(mask, value, code, callback))
        self._tell()

    def forget(self, callback: Callable[[int], None]) -> None:
        """Remove the watches of a callback."""
        kept = [one for one in self._patterns if one.callback != callback]
        if len(kept) != len(self._patterns):
            self._patterns = kept
            self._tell()

    def judge(self, pc: int, code: bytes) -> int:
        """A block was translated, which Unicorn knows by `pc` (`Env.pc`): its flags (`BlockFlag`)."""
        if self._engine is not None:
            pc = self._engine.env.linear_of(pc)
        if self._on_block is not None:
            self._on_block(pc, code)
        for pattern in self._patterns:
            if pc & pattern.mask == pattern.value and self._begins(pc, code, pattern.code):
                self._patterns.remove(pattern)
                self._places.setdefault(pc, []).append(partial(pattern.callback, pc))
                self._tell()
                break
        if self.on_ring3 is not None and self._is_program(pc):
            self._places.setdefault(pc, []).append(self.on_ring3)
            self.on_ring3 = None
        return BlockFlag.WATCHED if pc in self._places else 0

    def _is_program(self, pc: int) -> bool:
        """Is this code of a program, and not of a kernel that a hypervisor has put into ring 3?

        In long mode kernels have the upper half, and a paravirtualised one, which runs in ring 3 as its programs do, keeps it
        (Xen, public/arch-x86/xen-x86_64.h); such a kernel of 32 bits runs in ring 1. Virtual-8086 mode is ring 3 by name, and
        what kernels use it for is the BIOS.
        """
        engine = self._engine
        return engine is not None and engine.processor.cpl == 3 and not (pc >> 63 or engine.env.eflags & EFLAGS_VM)

    def meet(self, pc: int) -> list[Callback]:
        """The guest is about to run the block at `pc`: who waited for that, once."""
        if self._engine is not None:
            pc = self._engine.env.linear_of(pc)
        callbacks = self._places.pop(pc, [])
        if callbacks:
            self._tell()
        return callbacks

    def _tell(self) -> None:
        """The native code asks about these."""
        if self._engine is not None:
            patterns = [(one.mask, one.value) for one in self._patterns]
            places = sorted({pc for linear in self._places for pc in _names(linear)})
            self._engine.native.listen(places, patterns, all_blocks=self._all_blocks or self._on_block is not None)

    def _begins(self, pc: int, code: bytes, expected: bytes) -> bool:
        if len(code) < len(expected) and self._engine is not None:
            try:
                code = self._engine.processor.read(pc, len(expected))
            except GuestFault:
                return False
        return code.startswith(expected)


def _names(linear: int) -> tuple[int, ...]:
    """What Unicorn may call a block at a linear address: base and instruction pointer may wrap (`Env.pc`)."""
    return (linear, linear | WRAPPED) if linear < WRAPPED else (linear,)
