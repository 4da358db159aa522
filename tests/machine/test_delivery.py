"""Delivery: what the self-test's programs do not reach, above all the whole of SDM 3A table 6-5."""

from __future__ import annotations

import struct

import pytest

from efishim.machine import delivery
from efishim.machine.delivery import Delivery, Exception_, TripleFault
from efishim.machine.machine import Machine
from tests.machine.guest import GDT, HANDLERS, IDT, ORIGIN, STACK, handle32, handle64, long_mode, protected, real

DE, DB, BP, OF, BR, UD, NM, DF, TS, NP, SS, GP, PF, MF, AC = 0, 1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17
BENIGN = {DB, 2, BP, OF, BR, UD, NM, MF, AC, 18, 19}
CONTRIBUTORY = {DE, TS, NP, SS, GP}


@pytest.mark.parametrize("first", sorted(BENIGN | CONTRIBUTORY | {PF}))
@pytest.mark.parametrize("second", [TS, NP, SS, GP, PF])
def test_double_faults(first: int, second: int) -> None:
    combined = Delivery._combine(Exception_(first, 0), Exception_(second, 8, cr2=0x1000 if second == PF else None))
    double = (first in CONTRIBUTORY and second in CONTRIBUTORY) or first == PF
    assert (combined.vector, combined.error) == ((DF, 0) if double else (second, 8))


@pytest.mark.parametrize("second", [TS, NP, SS, GP, PF])
def test_interrupts_and_int_n_are_benign_whatever_their_vector(second: int) -> None:
    for vector in (DE, GP, PF, 0x80):
        for event in (Exception_(vector, software=True), Exception_(vector, external=True)):
            assert Delivery._combine(event, Exception_(second, 8)).vector == second


def test_a_third_fault_is_the_last() -> None:
    with pytest.raises(TripleFault):
        Delivery._combine(Exception_(DF, 0), Exception_(NP, 8))


# External interrupts, raised by the host


class Controller:
    """An interrupt controller with a list."""

    def __init__(self, *vectors: int) -> None:
        self.vectors = list(vectors)

    def pending(self) -> bool:
        return bool(self.vectors)

    def acknowledge(self) -> int:
        return self.vectors.pop(0)


def frame_of(machine: Machine, words: int, size: int) -> list[int]:
    stack = machine.cpu.get("rsp")
    return [int.from_bytes(machine.memory.read(stack + size * n, size), "little") for n in range(words)]


def test_interrupt_in_protected_mode() -> None:
    machine = protected(b"\x90\xfb\x90\x90\xeb\xfe")  # NOP; STI; NOP; NOP; JMP $
    machine.interrupts = Controller(0x30)
    handle32(machine, 0x30, b"\xf4")
    assert machine.run(max_insns=100).reason == "halted"
    assert frame_of(machine, 3, 4) == [ORIGIN + 3, 8, 0x202]
    assert machine.cpu.get("rsp") == STACK - 12
    assert not machine.cpu.get("eflags") & 0x200
    assert machine.insns == 4


def test_interrupt_in_long_mode() -> None:
    machine = long_mode(b"\x90\xfb\x90\x90\xeb\xfe")
    machine.interrupts = Controller(0x30)
    handle64(machine, 0x30, b"\xf4")
    assert machine.run(max_insns=100).reason == "halted"
    assert frame_of(machine, 5, 8) == [ORIGIN + 3, 24, 0x202, STACK, 16]


def test_interrupt_in_real_mode() -> None:
    machine = real(b"\x90\xfb\x90\x90\xeb\xfe")
    machine.interrupts = Controller(8)
    machine.memory.write(4 * 8, struct.pack("<HH", 0x0010, HANDLERS >> 4))
    machine.memory.write(HANDLERS + 0x10, b"\xf4")
    assert machine.run(max_insns=100).reason == "halted"
    assert frame_of(machine, 3, 2) == [3, ORIGIN >> 4, 0x202]
    assert (machine.cpu.get("cs"), machine.cpu.get("rip")) == (HANDLERS >> 4, 0x11)


def test_interrupt_between_stack_segment_and_stack_pointer() -> None:
    """SDM 3A 6.8.3: no interrupt until the instruction after MOV SS has run, so that SP can be loaded."""
    controller = Controller()

    class Selector:
        """Memory of a device: reading a selector raises the interrupt."""

        def read(self, offset: int, size: int) -> int:
            controller.vectors.append(0x30)
            return 16

        def write(self, offset: int, size: int, value: int) -> None:
            raise AssertionError

    # STI; NOP; MOV SS, [0x2000000]; MOV ESP, 0x6000; NOP; JMP $
    machine = protected(
        b"\xfb\x90\x8e\x15\x00\x00\x00\x02\xbc\x00\x60\x00\x00\x90\xeb\xfe",
        prepare=lambda machine: machine.mmio.attach(0x2000000, 4, Selector(), "selector"),
    )
    machine.interrupts = controller
    handle32(machine, 0x30, b"\xf4")
    assert machine.run(max_insns=100).reason == "halted"
    assert frame_of(machine, 1, 4) == [ORIGIN + 13]
    assert machine.cpu.get("rsp") == 0x6000 - 12, "on the new stack"


def test_an_interrupt_whose_gate_is_bad_is_an_external_fault() -> None:
    """SDM 3A 6.13: the EXT bit, and the fault takes the place of the interrupt."""
    machine = protected(b"\xfb\x90\x90\xeb\xfe")
    machine.interrupts = Controller(0x30)
    handle32(machine, GP, b"\xf4")
    machine.memory.write(IDT + 8 * 0x30, bytes(8))
    machine.cpu.set("idtr.limit", 0x7FF)
    assert machine.run(max_insns=100).reason == "halted"
    assert frame_of(machine, 2, 4) == [0x30 * 8 + 2 + 1, ORIGIN + 2]


def test_an_interrupt_that_nobody_can_take_is_a_triple_fault() -> None:
    machine = protected(b"\xfb\x90\x90\xeb\xfe")
    machine.interrupts = Controller(0x30)
    assert machine.run(max_insns=100).reason == "triple fault"


def test_every_vector_reaches_its_handler() -> None:
    for vector in range(32, 256, 37):
        machine = protected(bytes((0xCD, vector, 0xF4)))
        handle32(machine, vector, b"\xb8" + struct.pack("<I", vector) + b"\xcf")
        assert machine.run(max_insns=100).reason == "halted"
        assert machine.cpu.get("rax") == vector


def test_a_frame_that_no_memory_takes() -> None:
    """The stack is where no RAM is: nothing is stored, and the handler runs or the run ends with a reason."""
    machine = protected(b"\xbc\x00\x00\x00\x05\xcd\x30\xf4")  # MOV ESP, 0x5000000; INT 30h
    handle32(machine, 0x30, b"\xf4")
    assert machine.run(max_insns=100).reason in {"halted", "triple fault", "lost stack"}


def test_task_gates_are_refused() -> None:
    machine = protected(b"\xcd\x30\xf4")
    handle32(machine, GP, b"\xf4")
    machine.memory.write(IDT + 8 * 0x30, struct.pack("<HHHH", 0, 8, 0x8500, 0))
    assert machine.run(max_insns=100).reason == "halted"
    assert frame_of(machine, 2, 4) == [0x30 * 8 + 2, ORIGIN]


def test_a_table_that_is_too_short() -> None:
    machine = long_mode(b"\xcd\x30\xf4")
    handle64(machine, GP, b"\xf4")
    machine.cpu.set("idtr.limit", 0x30 * 16 + 14)
    machine.run(max_insns=100)
    assert frame_of(machine, 2, 8) == [0x30 * 8 + 2, ORIGIN]
    machine = long_mode(b"\xcd\x30\xf4")
    handle64(machine, 0x30, b"\xf4")
    machine.cpu.set("idtr.limit", 0x30 * 16 + 15)
    machine.run(max_insns=100)
    assert frame_of(machine, 1, 8) == [ORIGIN + 2]


def test_a_code_descriptor_beyond_the_table() -> None:
    machine = long_mode(b"\xcd\x30\xf4")
    handle64(machine, 0x30, b"\xf4")
    handle64(machine, GP, b"\xf4")
    machine.cpu.set("gdtr.limit", 30)
    machine.memory.write(GDT + 32, struct.pack("<Q", 0x00AF9A000000FFFF))
    assert machine.run(max_insns=100).reason == "triple fault", "no handler's code segment is within the table"


def test_vectors_with_error_codes() -> None:
    """SDM 3A table 6-1."""
    assert {8, 10, 11, 12, 13, 14, 17, 21} == delivery.HAS_ERROR_CODE


def test_int_6_returns_behind_itself_and_an_invalid_instruction_does_not() -> None:
    # A software interrupt is no fault: what is pushed is the address of the next instruction (SDM volume 2, INT n).
    for code, pushed in ((b"\xcd\x06\xf4", ORIGIN + 2), (b"\x0f\x0b\xf4", ORIGIN)):
        machine = long_mode(code)
        handle64(machine, 6, b"\xf4")
        machine.run(max_insns=100)
        assert frame_of(machine, 1, 8) == [pushed]
