"""Non-maskable interrupts (SDM volume 3, 6.7): whatever IF says, and one at a time until IRET."""

from __future__ import annotations

from efishim.machine.machine import Machine
from tests.machine.guest import handle32, handle64, long_mode, protected

NMI = 2
PORT = 0x80
RAISE = b"\xe6\x80"  # OUT 0x80, AL

# INC EBX; CMP EBX, 1; JNE over; OUT 0x80; NOP; JMP to the next instruction (a new block); MOV ECX, EBX; over: IRET
HANDLER32 = b"\x43\x83\xfb\x01\x75\x07\xe6\x80\x90\xeb\x00\x89\xd9\xcf"
HANDLER64 = b"\xff\xc3\x83\xfb\x01\x75\x07\xe6\x80\x90\xeb\x00\x89\xd9\x48\xcf"
# NOP; JMP to the next instruction; MOV EDX, EBX; CLI; HLT
REST = b"\x90\xeb\x00\x89\xda\xfa\xf4"


class Button:
    """A port whose every write is an NMI."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def read(self, offset: int, size: int) -> int:
        raise AssertionError

    def write(self, offset: int, size: int, value: int) -> None:
        self._machine.non_maskable_interrupt()


def attach(machine: Machine) -> None:
    machine.ports.attach(PORT, 1, Button(machine), "button")


def counts(machine: Machine) -> tuple[int, int, int]:
    """How often the handler ran; how often it had when it went on behind its own NMI; how often behind the first one."""
    return machine.cpu.get("rbx"), machine.cpu.get("rcx"), machine.cpu.get("rdx")


def test_in_protected_mode_with_interrupts_off() -> None:
    machine = protected(RAISE + REST, prepare=attach)
    handle32(machine, NMI, HANDLER32)
    assert machine.run(max_insns=1000).reason == "halted"
    assert counts(machine) == (2, 1, 2), "the second waits for the IRET of the first, and no longer"


def test_in_long_mode_with_interrupts_off() -> None:
    machine = long_mode(RAISE + REST, prepare=attach)
    handle64(machine, NMI, HANDLER64)
    assert machine.run(max_insns=1000).reason == "halted"
    assert counts(machine) == (2, 1, 2)


def test_it_wakes_a_processor_that_halted_with_interrupts_off() -> None:
    machine = long_mode(RAISE + b"\xf4" + REST, prepare=attach)  # OUT; HLT
    handle64(machine, NMI, HANDLER64)
    assert machine.run(max_insns=1000).reason == "halted"
    assert counts(machine)[2] == 2


def test_without_one_nothing_happens() -> None:
    machine = long_mode(REST, prepare=attach)
    handle64(machine, NMI, HANDLER64)
    assert machine.run(max_insns=1000).reason == "halted"
    assert counts(machine) == (0, 0, 0)
