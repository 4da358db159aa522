"""Guest state during a BIOS call: registers, the flags that IRET restores, and memory by segment.

Nothing here raises for what a guest does: a real BIOS in real mode cannot fault on a bad pointer, it reads ones and its stores
are lost. Offsets wrap at 64 KiB as 16-bit addressing does.
"""

from __future__ import annotations

from collections.abc import Iterator

from efishim.machine.cpu import Board
from efishim.machine.memory import BusError

CF, PF, AF, ZF, SF = 1 << 0, 1 << 2, 1 << 4, 1 << 6, 1 << 7
WRAP = 0x1_0000
DATA_FLAGS = 0x9300
"""A real-mode data segment's hidden part: present, writable, accessed."""
SHOWN = ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp")

_WORDS = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
_FIELDS = {
    **{name: (f"r{name}", 0, 0xFFFF) for name in _WORDS},
    **{f"e{name}": (f"r{name}", 0, 0xFFFF_FFFF) for name in _WORDS},
    **{f"{name}l": (f"r{name}x", 0, 0xFF) for name in "abcd"},
    **{f"{name}h": (f"r{name}x", 8, 0xFF) for name in "abcd"},
}


class Frame:
    """One call. `frame["ah"]` is a register or a part of one; `carry` and `zero` are what the caller will find."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._cpu = board.cpu
        self.unknown = False
        """Was `refuse` called: the BIOS has no such function."""
        self.stored = False
        """Did the call write to memory that the guest named?"""

    def __getitem__(self, name: str) -> int:
        register, shift, mask = _FIELDS[name]
        return self._cpu.get(register) >> shift & mask

    def __setitem__(self, name: str, value: int) -> None:
        register, shift, mask = _FIELDS[name]
        old = self._cpu.get(register)
        self._cpu.set(register, old & ~(mask << shift) | (value & mask) << shift)

    def registers(self) -> dict[str, int]:
        """What a log shows of the registers."""
        return {**{name: self[name] for name in SHOWN}, "es": self._cpu.get("es")}

    # The interrupt's frame: IP, CS, FLAGS from SS:SP on.

    def _stack(self, word: int) -> int:
        return int.from_bytes(self.load("ss", self["sp"] + 2 * word, 2), "little")

    @property
    def return_address(self) -> int:
        """Linear address behind the INT."""
        return (self._stack(1) << 4) + self._stack(0)

    @property
    def by_instruction(self) -> int | None:
        """The number of the INT instruction before the return address; None when another one stands there."""
        before = self.read_physical(self.return_address - 2, 2)
        return before[1] if before[0] == 0xCD else None

    @property
    def flags(self) -> int:
        """The flags that IRET will load."""
        return self._stack(2)

    def _set_flag(self, flag: int, on: bool) -> None:
        flags = self.flags & ~flag | (flag if on else 0)
        self._store("ss", self["sp"] + 4, flags.to_bytes(2, "little"))

    @property
    def carry(self) -> bool:
        """CF: most services report failure with it."""
        return bool(self.flags & CF)

    @carry.setter
    def carry(self, on: bool) -> None:
        self._set_flag(CF, on)

    @property
    def zero(self) -> bool:
        """ZF: int 16h says with it that no key waits."""
        return bool(self.flags & ZF)

    @zero.setter
    def zero(self, on: bool) -> None:
        self._set_flag(ZF, on)

    # Answers

    def done(self) -> None:
        """Success as int 13h, 15h and 1Ah report it: carry clear, AH 0."""
        self.carry = False
        self["ah"] = 0

    def fail(self, status: int) -> None:
        """Carry set, AH the status."""
        self.carry = True
        self["ah"] = status

    def refuse(self) -> None:
        """A function that this BIOS does not have: AH 86h, as ATs answered."""
        self.unknown = True
        self.fail(0x86)

    def set_es(self, selector: int) -> None:
        """Load ES, where a service returns a far pointer."""
        self._cpu.load_segment("es", selector, base=selector << 4, limit=WRAP - 1, flags=DATA_FLAGS)
        self._cpu.sync()

    # Memory

    def load(self, segment: str, offset: int, size: int) -> bytes:
        """Bytes at segment:offset; ones where no memory is."""
        base = self._cpu.get(f"{segment}.base")
        return b"".join(self.read_physical(base + at, step) for at, step in _pieces(offset, size))

    def store(self, segment: str, offset: int, data: bytes) -> None:
        """Store at segment:offset; lost where no RAM is."""
        self.stored = True
        self._store(segment, offset, data)

    def _store(self, segment: str, offset: int, data: bytes) -> None:
        base, done = self._cpu.get(f"{segment}.base"), 0
        for at, step in _pieces(offset, len(data)):
            self.write_physical(base + at, data[done : done + step])
            done += step

    def read_physical(self, address: int, size: int) -> bytes:
        """Bytes by physical address, from devices too."""
        memory, mmio = self._board.memory, self._board.mmio
        try:
            return memory.read(address, size)
        except BusError:
            single = (address + at for at in range(size))
            return bytes(memory.u8(at) if memory.find(at) else mmio.read(at, 1) for at in single)

    def write_physical(self, address: int, data: bytes) -> None:
        """Store by physical address: RAM and devices take it, ROM and nothing do not."""
        memory = self._board.memory
        region = memory.find(address, len(data))
        if region is not None:
            if region.writable:
                memory.write(address, data)
            return
        for at, byte in enumerate(data, address):
            single = memory.find(at)
            if single is None:
                self._board.mmio.write(at, 1, byte)
            elif single.writable:
                memory.write(at, bytes((byte,)))


def _pieces(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """A range of 16-bit offsets cut where it wraps."""
    while size > 0:
        offset %= WRAP
        step = min(size, WRAP - offset)
        yield offset, step
        offset, size = offset + step, size - step
