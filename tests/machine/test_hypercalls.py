"""VMCALL and VMMCALL, what is done behind an instruction, and halting for good."""

from __future__ import annotations

import pytest

from efishim.machine.ledger import Kind
from efishim.machine.machine import Machine
from tests.machine.guest import ORIGIN, handle32, handle64, long_mode, protected, real

VMCALL, VMMCALL, HLT = b"\x0f\x01\xc1", b"\x0f\x01\xd9", b"\xf4"
UD = 6


class OneMsr:
    """MSR 0x123 does something behind the instruction that writes it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.seen: list[int] = []

    def read(self, msr: int) -> int | None:
        return None

    def write(self, msr: int, value: int) -> bool:
        def later() -> None:
            self.seen.append(self._machine.cpu.get("rip"))
            self._machine.memory.write(ORIGIN + 0x20, b"\xb3\x07\xf4")  # mov bl, 7; hlt
            self._machine.flush_code(ORIGIN, 0x1000)

        self._machine.afterwards(later)
        return msr == 0x123


@pytest.mark.parametrize("instruction", [VMCALL, VMMCALL])
@pytest.mark.parametrize("mode", [real, protected, long_mode])
def test_a_hypercall_reaches_its_handler_and_returns(instruction: bytes, mode: type) -> None:
    code = b"\xb8\x05\x00" + (b"\x00\x00" if mode is not real else b"") + instruction + b"\x88\xc3" + HLT  # mov bl, al
    machine: Machine = mode(code)
    seen: list[int] = []

    def answer() -> int:
        seen.append(machine.cpu.get("rax"))
        machine.cpu.set("rax", 0x42)
        return 5 << 32 | 3

    machine.hypercall = answer
    assert machine.run().reason == "halted"
    assert seen == [5]
    assert machine.cpu.get("rbx") & 0xFF == 0x42
    assert machine.insns == 4
    (touch,) = [touch for touch in machine.ledger.touches() if touch.kind is Kind.HYPERCALL]
    assert (touch.address, touch.count, touch.value) == (5 << 32 | 3, 1, 0x42)
    assert touch.code == ORIGIN + (3 if mode is real else 5)


@pytest.mark.parametrize("instruction", [VMCALL, VMMCALL])
@pytest.mark.parametrize("wide", [True, False])
def test_without_a_hypervisor_they_are_undefined(instruction: bytes, wide: bool) -> None:
    machine = (long_mode if wide else protected)(b"\x90" + instruction)
    (handle64 if wide else handle32)(machine, UD, b"\x58" + HLT)  # pop rax: where it happened
    assert machine.run().reason == "halted"
    assert machine.cpu.get("rax") == ORIGIN + 1
    assert not [touch for touch in machine.ledger.touches() if touch.kind is Kind.HYPERCALL]


def test_many_calls_count_exactly() -> None:
    machine = long_mode(b"\xb9\x64\x00\x00\x00" + VMCALL + b"\xff\xc9\x75\xf9" + HLT)  # mov ecx, 100; 1: vmcall; dec; jnz 1b
    machine.hypercall = lambda: 0
    assert machine.run().reason == "halted"
    assert machine.insns == 1 + 3 * 100 + 1
    (touch,) = [touch for touch in machine.ledger.touches() if touch.kind is Kind.HYPERCALL]
    assert touch.count == 100


def test_a_handler_may_end_the_run() -> None:
    machine = long_mode(VMCALL + b"\xb3\x01" + HLT)

    def switch_off() -> int:
        machine.stop("shutdown")
        return 0

    machine.hypercall = switch_off
    assert machine.run().reason == "shutdown"
    assert machine.cpu.get("rbx") == 0


def test_bytes_of_a_hypercall_inside_another_instruction() -> None:
    machine = long_mode(b"\xb8" + VMCALL + b"\x00" + HLT)  # mov eax, 0xc1010f
    machine.hypercall = lambda: pytest.fail("there is no hypercall")
    assert machine.run().reason == "halted"
    assert machine.cpu.get("rax") == 0xC1010F


def test_code_that_an_msr_changes_is_the_new_code_afterwards() -> None:
    code = b"\xb9\x23\x01\x00\x00\x0f\x30\xeb\x17"  # mov ecx, 0x123; wrmsr; jmp ORIGIN + 0x20
    machine = long_mode(code.ljust(0x20, b"\xf4") + b"\xb3\x01\xf4")
    model = machine.msrs = OneMsr(machine)
    assert machine.run().reason == "halted"
    assert model.seen == [ORIGIN + 7]
    assert machine.cpu.get("rbx") == 7


def test_halting_for_good_ends_as_the_platform_says() -> None:
    machine = long_mode(HLT)
    machine.dead_halt = "shutdown"
    stop = machine.run()
    assert stop.reason == "shutdown"
    assert "interrupts off" in stop.detail


def test_waiting_in_a_hypercall_passes_time() -> None:
    class Controller:
        ready = False

        def pending(self) -> bool:
            return self.ready

        def acknowledge(self) -> int:
            self.ready = False
            return 0x40

    machine = long_mode(VMCALL + HLT)
    controller = Controller()
    machine.interrupts = controller

    def ring() -> None:
        controller.ready = True

    machine.clock.at(5_000_000, ring)

    def block() -> int:
        machine.wait_for_interrupt()
        return 0

    machine.hypercall = block
    assert machine.run().reason == "halted"
    assert machine.clock.now >= 5_000_000
    machine = long_mode(VMCALL + HLT)
    machine.interrupts = Controller()
    machine.hypercall = block
    assert machine.run().reason == "halted", "nothing will ever come"
    assert machine.insns == 1


def test_the_time_stamp_counter_from_outside() -> None:
    machine = long_mode(b"\x0f\x31" + HLT)
    assert machine.tsc() < 1000
    machine.run()
    read = machine.cpu.get("rdx") << 32 | machine.cpu.get("rax")
    assert 0 <= machine.tsc() - read < 1000
