"""Instruction boundaries within blocks, which make counts exact although whole blocks are counted."""

from __future__ import annotations

import ctypes

from efishim.machine.cpu import GuestFault
from efishim.machine.disassembly import starts
from efishim.machine.processor import Processor

KNOWN_LIMIT = 1 << 16
"""Boundaries that are remembered; a guest that makes its own code may have any number."""

_FIELDS = ctypes.c_uint16 * 4
"""size, icount, flags and age of a native table entry: another age, another translation."""


class BlockIndex:
    """Counts the instructions of a block that did not run. Boundaries come from a disassembler and are remembered."""

    def __init__(self, processor: Processor) -> None:
        self._cpu = processor
        self._known: dict[tuple[int, int, int], int] = {}

    def not_executed(self, pc: int, entry: int, rip: int, *, faulted: bool) -> int:
        """Instructions of the block at `pc` (native table entry at host address `entry`) from `rip` to its end.

        0 when `rip` is not inside the block: it then ran to its end. Nothing ran when a fault stopped it at its first
        instruction.
        """
        if not entry:
            return 0
        size, icount, _flags, age = _FIELDS.from_address(entry + 8)
        icount = ctypes.c_int16(icount).value
        if not pc <= rip < pc + size:
            return 0
        if rip == pc:
            return icount if faulted else 0
        key = (entry, age, rip)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= KNOWN_LIMIT:
                self._known.clear()
            known = self._known[key] = max(0, icount - self._count(pc, size, rip))
        return known

    def count(self, pc: int, size: int) -> int:
        """Instructions in the `size` bytes at `pc`, where one begins."""
        return self._count(pc, size, pc + size)

    @staticmethod
    def size(entry: int) -> int:
        """Bytes of the block with this native table entry."""
        return _FIELDS.from_address(entry + 8)[0] if entry else 0

    def start(self, pc: int, size: int, number: int) -> int:
        """Address of an instruction in the block at `pc`; its first is number 0."""
        return starts(self._cpu.read(pc, size), pc, self._cpu.mode)[number]

    def ends_in_halt(self, pc: int, size: int) -> bool:
        """Is HLT the last instruction of the block at `pc`?"""
        try:
            code = self._cpu.read(pc, size)
        except GuestFault:
            return False
        return code[-1:] == b"\xf4" and starts(code, pc, self._cpu.mode)[-1] == pc + size - 1

    def next_start(self, pc: int, size: int, rip: int) -> int:
        """Address of the instruction behind the one at `rip` in the block at `pc`."""
        try:
            code = self._cpu.read(pc, size)
        except GuestFault:
            return pc + size
        return next((start for start in starts(code, pc, self._cpu.mode) if start > rip), pc + size)

    def _count(self, pc: int, size: int, rip: int) -> int:
        try:
            code = self._cpu.read(pc, size)
        except GuestFault:
            return 0x10000  # code that vanished meanwhile: the whole block stays counted
        return sum(1 for start in starts(code, pc, self._cpu.mode) if start < rip)
