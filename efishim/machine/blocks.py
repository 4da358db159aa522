"""Where in a block the guest was: instruction boundaries, for counts that are exact although blocks are counted whole."""

from __future__ import annotations

import ctypes

from efishim.machine.processor import Processor


class BlockIndex:
    """Counts the instructions of a block that did not run. Boundaries come from a disassembler and are remembered."""

    def __init__(self, processor: Processor) -> None:
        self._cpu = processor
        self._known: dict[tuple[int, int, int, bytes], int] = {}

    def not_executed(self, pc: int, entry: int, rip: int, *, faulted: bool) -> int:
        """Instructions of the block at `pc` (native table entry at host address `entry`) from `rip` to its end.

        0 when `rip` is not inside the block: it then ran to its end. A fault at the block's own start that was raised by
        fetching (the block was never entered) cannot be told from one by its first instruction; both count nothing.
        """
        if not entry:
            return 0
        size = ctypes.c_uint16.from_address(entry + 8).value
        icount = ctypes.c_uint16.from_address(entry + 10).value
        if not pc <= rip < pc + size:
            return 0
        if rip == pc:
            return icount if faulted else 0
        try:
            code = self._cpu.read(pc, size)
        except Exception:  # noqa: BLE001 - code that vanished meanwhile: the whole block stays counted
            return 0
        mode = self._cpu.env.hflags >> 4 & 1 | self._cpu.env.hflags >> 14 & 2
        key = (pc, rip, mode, code)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = max(0, icount - self._count(code, rip - pc, mode))
        return known

    @staticmethod
    def _count(code: bytes, upto: int, mode: int) -> int:
        import capstone  # noqa: PLC0415 - 20 ms that a run without faults does not need

        bits = capstone.CS_MODE_64 if mode & 2 else capstone.CS_MODE_32 if mode & 1 else capstone.CS_MODE_16
        engine = capstone.Cs(capstone.CS_ARCH_X86, bits)
        engine.skipdata = True
        count = 0
        for address, _size, _name, _operands in engine.disasm_lite(code, 0):
            if address >= upto:
                break
            count += 1
        return count
