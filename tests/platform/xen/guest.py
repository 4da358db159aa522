"""A guest of the platform `hvmlite` without a processor: registers in a dictionary, linear addresses are physical ones."""

from __future__ import annotations

import struct

from efishim.machine.cpu import GuestFault
from efishim.machine.memory import BusError
from efishim.platform.definition import MIB, PlatformFacts, PlatformOptions
from efishim.platform.machines.hvmlite import HVMLITE
from efishim.wire.x86 import DESCRIPTOR_L
from tests.platform.fakes import FakeBoard

EPOCH = 0x1_5706_1B00
"""Beyond 32 bits, so that the upper half of the seconds shows."""
ARGUMENT = 0x10_0000
WIDE, NARROW = ("rdi", "rsi", "rdx", "r10", "r8"), ("rbx", "rcx", "rdx", "rsi", "rdi")
MEMORY_OP, MULTICALL, SET_TIMER_OP, XEN_VERSION, CONSOLE_IO, GRANT_TABLE_OP = 12, 13, 15, 17, 18, 20
VM_ASSIST, VCPU_OP, SCHED_OP, EVENT_CHANNEL_OP, PHYSDEV_OP, HVM_OP, TMEM_OP = 21, 24, 29, 32, 33, 34, 38
EPERM, ENOENT, ESRCH, E2BIG, EFAULT, EEXIST, EINVAL, ENOSPC, ENOSYS, ETIME = -1, -2, -3, -7, -14, -17, -22, -28, -38, -62
SELF = 0x7FF0


class FakeCpu:
    """Implements `Cpu`; every mapped address is RAM."""

    def __init__(self, board: FakeBoard) -> None:
        self._board = board
        self.registers = {"efer": 0x500, "cs.flags": 0x00AF9B00, "cr0": 0x8000_0011, "cs": 0x10, "eflags": 2}

    def get(self, register: str) -> int:
        return self.registers.get(register, 0)

    def set(self, register: str, value: int) -> None:
        self.registers[register] = value

    def read(self, address: int, size: int) -> bytes:
        try:
            return self._board.memory.read(address, size)
        except BusError as error:
            raise GuestFault(address, write=False) from error

    def write(self, address: int, data: bytes) -> None:
        try:
            self._board.memory.write(address, data)
        except BusError as error:
            raise GuestFault(address, write=True) from error

    def translate(self, address: int, *, write: bool = False) -> int:
        return address

    def load_segment(self, register: str, selector: int, *, base: int, limit: int, flags: int) -> None:
        self.registers |= {register: selector, f"{register}.base": base, f"{register}.limit": limit, f"{register}.flags": flags}

    def sync(self, cpl: int | None = None) -> None:
        pass

    @property
    def mode(self) -> int:
        return 64 if self.registers["cs.flags"] & DESCRIPTOR_L else 32


class Guest:
    """A built machine and what its code would do."""

    def __init__(self, *, wide: bool = True, **features: str) -> None:
        self.board = FakeBoard()
        self.said = bytearray()
        self.cpu = FakeCpu(self.board)
        self.board.cpu = self.cpu
        if not wide:
            self.cpu.registers |= {"efer": 0, "cs.flags": 0x00CF9B00, "cr0": 0x11}
        self.wide = wide
        self.facts: PlatformFacts = HVMLITE.build(self.board, PlatformOptions(64 * MIB, EPOCH, features, self.said.extend))

    def call(self, number: int, *arguments: int) -> int:
        """A hypercall; gives its signed answer."""
        for register, value in zip(WIDE if self.wide else NARROW, (*arguments, 0, 0, 0, 0), strict=False):
            self.cpu.set(register, value)
        self.cpu.set("rax", number)
        assert self.board.hypercall is not None
        self.name = self.board.hypercall()
        answer = self.cpu.get("rax")
        bits = 64 if self.wide else 32
        return answer - (1 << bits) if answer >> bits - 1 else answer

    def op(self, number: int, command: int, form: str, *values: int) -> int:
        """A hypercall whose second argument points to a structure; that lies at ARGUMENT afterwards too."""
        self.board.memory.write(ARGUMENT, struct.pack("<" + form, *values))
        return self.call(number, command, ARGUMENT)

    def vcpu_op(self, command: int, form: str = "", *values: int) -> int:
        """An operation on processor 0."""
        self.board.memory.write(ARGUMENT, struct.pack("<" + form, *values))
        return self.call(VCPU_OP, command, 0, ARGUMENT)

    def took(self, form: str, at: int = 0) -> tuple[int, ...]:
        """What the hypervisor wrote into the argument."""
        return struct.unpack("<" + form, self.board.memory.read(ARGUMENT + at, struct.calcsize("<" + form)))

    def u8(self, address: int) -> int:
        """A byte of memory."""
        return self.board.memory.u8(address)

    def map_shared_info(self, frame: int = 0x300) -> int:
        """Place the shared info page; gives its address."""
        if self.wide:
            assert self.op(MEMORY_OP, 7, "HHIQQ", SELF, 0, 0, 0, frame) == 0
        else:
            assert self.op(MEMORY_OP, 7, "HHIII", SELF, 0, 0, 0, frame) == 0
        return frame << 12

    def bind_virq(self, virq: int = 0) -> int:
        """A port for a virtual interrupt."""
        assert self.op(EVENT_CHANNEL_OP, 1, "III", virq, 0, 0) == 0
        return self.took("I", 8)[0]

    def set_callback(self, vector: int) -> None:
        """HVM_PARAM_CALLBACK_IRQ of type vector."""
        assert self.op(HVM_OP, 0, "HHIQ", SELF, 0, 0, 2 << 56 | vector) == 0

    @property
    def interrupt(self) -> int | None:
        """The vector that the processor would take now, which it thereby takes."""
        interrupts = self.board.interrupts
        assert interrupts is not None
        return interrupts.acknowledge() if interrupts.pending() else None
