"""A board without a processor emulator: it executes the handful of instructions that firmware stubs consist of.

Guest code is written in Python: a generator that yields `Firmware` to call an address with the Microsoft x64 convention
and gets RAX back, or `Compute` to let virtual time pass as if instructions ran. Linear addresses are physical, but for
`windows`, where a test maps memory somewhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from efishim.machine.bus import Bus
from efishim.machine.clock import Clock
from efishim.machine.cpu import BoardCpu, GuestFault
from efishim.machine.memory import BusError, PhysicalMemory

REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip", "eflags"),
    *("cr0", "cr2", "cr3", "cr4", "cr8", "efer", "cs", "ds", "es", "fs", "gs", "ss", "fs_base", "gs_base"),
    *("gdtr.base", "gdtr.limit", "idtr.base", "idtr.limit", "tr", "ldtr", "fcw"),
)
ARGUMENTS = ("rcx", "rdx", "r8", "r9")
TOP = 1 << 64
STEP_LIMIT = 200_000


@dataclass(frozen=True)
class Firmware:
    """Guest code calls an address."""

    address: int
    arguments: tuple[int, ...] = ()


@dataclass(frozen=True)
class Compute:
    """Guest code runs for so many virtual nanoseconds."""

    ns: int


Body = Generator[Firmware | Compute, int, int]


@dataclass
class _Activation:
    body: Body
    rsp: int  # at the function's first instruction: the return address lies there
    expects: int = 0  # RSP when the callee has returned


class FakeCpu:
    """Registers in a dictionary."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory
        self.registers = dict.fromkeys(REGISTERS, 0)
        self.windows: list[tuple[int, int, int]] = []
        """(linear, physical, size) of mappings that are not identity."""
        self.holes: list[tuple[int, int]] = []
        """(linear, size) of what is not mapped."""

    def get(self, register: str) -> int:
        return self.registers[register]

    def set(self, register: str, value: int) -> None:
        assert register in self.registers, register
        assert 0 <= value < TOP, f"{register} = {value:#x}"
        self.registers[register] = value

    mode = 64

    def load_segment(self, register: str, selector: int, *, base: int, limit: int, flags: int) -> None:
        self.registers[register] = selector

    def sync(self, cpl: int | None = None) -> None:
        pass

    def translate(self, address: int, *, write: bool = False) -> int:
        if any(start <= address < start + size for start, size in self.holes):
            raise GuestFault(address, write=write)
        for linear, physical, size in self.windows:
            if linear <= address < linear + size:
                return address - linear + physical
        if self.memory.find(address) is None:
            raise GuestFault(address, write=write)
        return address

    def read(self, address: int, size: int) -> bytes:
        start = self.translate(address)
        try:
            return self.memory.read(start, size)
        except BusError as error:
            raise GuestFault(address, write=False) from error

    def write(self, address: int, data: bytes) -> None:
        start = self.translate(address, write=True)
        region = self.memory.find(start, len(data))
        if region is None or not region.writable:
            raise GuestFault(address, write=True)
        self.memory.write(start, data)


@dataclass
class FakeBoard:
    """Satisfies the protocol Board."""

    memory: PhysicalMemory
    ports: Bus = field(default_factory=lambda: Bus("port", 0x10000))
    mmio: Bus = field(default_factory=lambda: Bus("mmio", 1 << 52))
    clock: Clock = field(default_factory=Clock)
    interrupts: Any = None
    msrs: Any = None
    cpuid: Any = None
    hypercall: Any = None
    dead_halt: str = "halted"
    tsc_hz: int = 1_000_000_000

    def __post_init__(self) -> None:
        self.processor = FakeCpu(self.memory)
        self.cpu: BoardCpu = self.processor
        self.stopped: str | None = None
        self.flushed: list[tuple[int, int]] = []
        self.faults: list[tuple[int, int, int]] = []
        """(address, write, RIP) of page faults."""
        self._traps: dict[int, Callable[[int], None]] = {}
        self._functions: dict[int, Callable[..., Body]] = {}
        self._stack: list[_Activation] = []
        self.code = 0
        """Where guest functions get their addresses: set by the fixture, one page."""

    def interrupt_changed(self) -> None:
        pass

    def trap(self, port: int, handler: Callable[[int], None]) -> None:
        assert port not in self._traps
        self._traps[port] = handler

    def stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason

    def page_fault(self, address: int, *, error: int) -> None:
        self.faults.append((address, error, self.cpu.get("rip")))
        self.stop("page fault")

    def flush_code(self, address: int, size: int) -> None:
        self.flushed.append((address, size))

    def now(self) -> int:
        return self.clock.now

    def tsc(self) -> int:
        return self.clock.now * self.tsc_hz // 1_000_000_000

    def device_access(self, ns: int) -> None:
        raise NotImplementedError

    def afterwards(self, action: Callable[[], None]) -> None:
        action()

    def non_maskable_interrupt(self) -> None:
        raise AssertionError("firmware sends no NMI")

    def wait_for_interrupt(self) -> None:
        raise AssertionError("firmware waits by itself")

    def skip_to(self, when: int) -> None:
        self.clock.advance_to(when)

    # -- guest code in Python -----------------------------------------------------------------------------------

    def function(self, body: Callable[..., Body]) -> int:
        """Give a Python generator function an address that guest and firmware can call. It gets RCX, RDX, R8, R9."""
        address = self.code + 0x100 + 16 * len(self._functions)
        self._functions[address] = body
        return address

    def constant(self, value: int, log: list[tuple[int, ...]] | None = None) -> int:
        """A guest function that notes its arguments and returns a value."""

        def body(*arguments: int) -> Body:
            if log is not None:
                log.append(arguments)
            return value
            yield Compute(0)

        return self.function(body)

    def call(self, address: int, *arguments: int) -> int:
        """Call an address from outside and run until it returns. Gives RAX."""
        result: list[int] = []

        def body(*_: int) -> Body:
            result.append((yield Firmware(address, arguments)))
            return 0

        cpu = self.cpu
        before = {name: cpu.get(name) for name in ("rsp", "rip")}
        rsp = (cpu.get("rsp") & ~0xF) - 8
        self._push(rsp, self.code)  # the return address of the outermost function: the end
        cpu.set("rsp", rsp)
        self._enter(body(), rsp)
        self.run()
        if self.stopped is None:
            assert not self._stack, "guest functions are left on the stack"
        else:
            self._stack.clear()
        for name, value in before.items():
            cpu.set(name, value)
        return result[0] if result else -1

    def run(self) -> None:
        """Execute until the end address is reached or somebody stops the machine."""
        cpu = self.cpu
        for _ in range(STEP_LIMIT):
            rip = cpu.get("rip")
            if self.stopped is not None or rip == self.code:
                return
            if rip == self.code + 16:
                self._resume(cpu.get("rax"))
            elif rip in self._functions:
                arguments = (cpu.get(name) for name in ARGUMENTS)
                self._enter(self._functions[rip](*arguments), cpu.get("rsp"))
            else:
                self._instruction(rip)
        raise AssertionError("the guest does not come to an end")

    def _instruction(self, rip: int) -> None:
        cpu = self.cpu
        code = cpu.read(rip, 8)
        if code[0] == 0xB8:
            cpu.set("rax", int.from_bytes(code[1:5], "little"))
            cpu.set("rip", rip + 5)
        elif code[0] == 0xE6:
            cpu.set("rip", rip + 2)
            self._traps[code[1]](cpu.get("rax") & 0xFF)
        elif code[0] == 0xC3:
            rsp = cpu.get("rsp")
            cpu.set("rip", struct.unpack("<Q", cpu.read(rsp, 8))[0])
            cpu.set("rsp", rsp + 8)
        elif code[:2] == b"\xf3\x90":
            cpu.set("rip", rip + 2)
        elif code[:3] == b"\x48\x0f\xae" and code[3:5] in (b"\x04\x24", b"\x0c\x24"):
            assert cpu.get("rsp") % 16 == 0, "fxsave64 wants 16 bytes of alignment"
            cpu.set("rip", rip + 5)
        else:
            raise AssertionError(f"not firmware code at {rip:#x}: {code.hex()}")

    def _push(self, rsp: int, value: int) -> None:
        self.memory.write(rsp, struct.pack("<Q", value))

    def _enter(self, body: Body, rsp: int) -> None:
        self._stack.append(_Activation(body, rsp))
        self._step(self._stack[-1], None)

    def _resume(self, rax: int) -> None:
        """A callee returned to guest code: to the activation whose stack this is; those below were unwound."""
        rsp = self.cpu.get("rsp")
        while self._stack and self._stack[-1].expects != rsp:
            self._stack.pop().body.close()
        assert self._stack, "returned to nowhere"
        self._step(self._stack[-1], rax)

    def _step(self, activation: _Activation, value: int | None) -> None:
        cpu = self.cpu
        try:
            step = next(activation.body) if value is None else activation.body.send(value)
        except StopIteration as stop:
            self._stack.pop()
            cpu.set("rax", stop.value)
            cpu.set("rsp", activation.rsp + 8)
            cpu.set("rip", struct.unpack("<Q", cpu.read(activation.rsp, 8))[0])
            return
        if isinstance(step, Compute):
            activation.expects = activation.rsp - 0x200
            cpu.set("rsp", activation.expects)
            cpu.set("rip", self.code + 16)
            self.clock.advance_to(self.clock.now + step.ns)
            self.clock.fire()
            return
        assert activation.rsp % 16 == 8, "the stack was not aligned at the entry of a function"
        extra = step.arguments[4:]
        rsp = activation.rsp - 8 - 0x20 - 8 * (len(extra) + len(extra) % 2) - 0x100
        activation.expects = rsp
        self.memory.write(rsp + 0x20, b"".join(struct.pack("<Q", word % TOP) for word in extra))
        self._push(rsp - 8, self.code + 16)
        for register, argument in zip(ARGUMENTS, step.arguments, strict=False):
            cpu.set(register, argument % TOP)
        cpu.set("rsp", rsp - 8)
        cpu.set("rip", step.address)
