"""The processor state at image entry (UEFI 2.10, 2.3.2 and 2.3.4): flat segments, a stack, and an IDT that reports exceptions.

The values are those of EDK II on QEMU: same selectors, same control registers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

from efishim.firmware.calling import stubs
from efishim.firmware.calling.dispatch import Dispatcher, StubArea
from efishim.machine.cpu import Board, GuestFault
from efishim.wire.x86 import (
    CR0_ET,
    CR0_MP,
    CR0_NE,
    CR0_PE,
    CR0_PG,
    CR0_WP,
    CR4_DE,
    CR4_MCE,
    CR4_OSFXSR,
    CR4_OSXMMEXCPT,
    CR4_PAE,
    DESCRIPTOR_ATTRIBUTES,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    EFLAGS_IF,
    PF_I,
    PF_P,
)
from efishim.wire.x86_tables import Gate32, Gate64

GDT = (
    0,
    0x00CF92000000FFFF,  # 0x08 data
    0x00CF9F000000FFFF,  # 0x10 32-bit code, conforming
    0x00CF93000000FFFF,  # 0x18 data
    0x00CF9A000000FFFF,  # 0x20 32-bit code
    0x008F9A000000FFFF,  # 0x28 16-bit code
    0x00CF93000000FFFF,  # 0x30 data: DS, ES, FS, GS, SS
    0x00AF9A000000FFFF,  # 0x38 64-bit code: CS
    0,
)


@dataclass(frozen=True, slots=True)
class CallingState:
    """What an image finds in the processor; `width` is that of pointers, `code` and `data` are selectors."""

    width: int
    code: int
    data: int
    efer: int
    fcw: int


STATES = MappingProxyType(
    {
        8: CallingState(8, 0x38, 0x30, efer=EFER_LME | EFER_LMA | EFER_NXE, fcw=0x37F),
        4: CallingState(4, 0x10, 0x08, efer=EFER_NXE, fcw=0x27F),
    }
)
"""By width: long mode (2.3.4), and protected mode with PAE (2.3.2)."""

CR0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG
CR4 = CR4_DE | CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT
"""Of both."""

EFLAGS_START = EFLAGS_IF | 2
"""Interrupts are on (2.3.4)."""

VECTORS = 256
PAGE_FAULT = 14
INTERRUPT_GATE = 0x8E
EXTERNAL_FIRST, EXTERNAL_LAST = 0x20, 0xFF

PIC_COMMAND, PIC2_COMMAND, PIC_EOI = 0x20, 0xA0, 0x20
APIC_EOI = 0xFEE000B0


@dataclass(frozen=True, slots=True)
class Fault:
    """An exception without a handler."""

    vector: int
    error: int
    rip: int
    cr2: int
    cause: str = ""
    """Why, where the firmware knows."""

    @property
    def sentence(self) -> str:
        """For the console and the record."""
        detail = f", CR2 {self.cr2:#x}" if self.vector == PAGE_FAULT else ""
        name = stubs.exception_name(self.vector)
        return f"unhandled {name} (error code {self.error:#x}) at RIP {self.rip:#x}{detail}{self.cause}"


class Environment:
    """Descriptor tables and exception stubs. `tables` has room for the GDT and the IDT (two pages)."""

    def __init__(self, board: Board, dispatcher: Dispatcher, area: StubArea, tables: int) -> None:
        self._board = board
        self.state = STATES[dispatcher.guest.width]
        self.gdt = tables
        self.idt = tables + 0x1000
        self.fault: Fault | None = None
        self.explain: Callable[[int, int], str] = lambda error, address: ""
        """Why a page fault came, from its error code and its address."""
        board.memory.write(self.gdt, struct.pack(f"<{len(GDT)}Q", *GDT))
        common = dispatcher.place(area, stubs.exception_common(self.state.width), self._exception)
        gates = bytearray()
        for vector in range(VECTORS):
            handler = area.take()
            code = stubs.exception(vector, handler, common)
            board.memory.write(handler, code.ljust(stubs.STUB_SIZE, stubs.INT3))
            gates += self._gate(handler)
        board.memory.write(self.idt, bytes(gates))

    def _gate(self, handler: int) -> bytes:
        """An interrupt gate (SDM volume 3, 6.11 and 6.14.1)."""
        gate = Gate64(offset_high=handler >> 32) if self.state.width == 8 else Gate32()
        gate.offset_low, gate.offset_middle = handler & 0xFFFF, handler >> 16 & 0xFFFF
        gate.selector, gate.access = self.state.code, INTERRUPT_GATE
        return gate.build()

    @property
    def interrupts(self) -> tuple[int, int]:
        """Address and limit of the interrupt descriptor table."""
        return self.idt, VECTORS * 2 * self.state.width - 1

    def enter(self, root: int, stack_top: int) -> None:
        """Set the processor up. RIP and the stack pointer proper are the dispatcher's."""
        cpu, state = self._board.cpu, self.state
        for register, value in (
            ("cr4", CR4),
            ("efer", state.efer),
            ("cr3", root),
            ("cr0", CR0),
            ("fcw", state.fcw),
            ("gdtr.base", self.gdt),
            ("gdtr.limit", 8 * len(GDT) - 1),
            ("idtr.base", self.idt),
            ("idtr.limit", self.interrupts[1]),
        ):
            cpu.set(register, value)
        code, data = GDT[state.code // 8] >> 32, GDT[state.data // 8] >> 32
        cpu.load_segment("cs", state.code, base=0, limit=0xFFFFFFFF, flags=code & DESCRIPTOR_ATTRIBUTES)
        for register in ("ds", "es", "fs", "gs", "ss"):
            cpu.load_segment(register, state.data, base=0, limit=0xFFFFFFFF, flags=data & DESCRIPTOR_ATTRIBUTES)
        cpu.sync(0)
        for register in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", *(f"r{n}" for n in range(8, 16))):
            cpu.set(register, 0)
        cpu.set("eflags", EFLAGS_START)
        cpu.set("rsp", stack_top)

    def _exception(self) -> None:
        """The stub pushed the vector on top of the error code and the processor's frame."""
        cpu = self._board.cpu
        try:
            form = "<3Q" if self.state.width == 8 else "<3I"
            vector, error, rip = struct.unpack(form, cpu.read(cpu.get("rsp"), struct.calcsize(form)))
        except GuestFault:
            self._board.stop(f"firmware exception: its frame at {cpu.get('rsp'):#x} is not in memory")
            return
        if EXTERNAL_FIRST <= vector <= EXTERNAL_LAST:
            # The firmware's timer lives in the virtual clock, so there is no handler for a device's interrupt.
            self._board.ports.write(PIC_COMMAND, 1, PIC_EOI)
            self._board.ports.write(PIC2_COMMAND, 1, PIC_EOI)
            self._board.mmio.write(APIC_EOI, 4, 0)
            return
        address = cpu.get("cr2")
        # What Unicorn leaves in CR2 when the guest jumps to address 0 is the page below it.
        place = rip if error & PF_I and not error & PF_P else address
        cause = self.explain(error, place) if vector == PAGE_FAULT else ""
        self.fault = Fault(vector, error & 0xFFFFFFFF, rip, address, cause)
        self._board.stop(f"firmware exception: {self.fault.sentence}")
