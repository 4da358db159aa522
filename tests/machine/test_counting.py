"""Instruction counts: hand-counted programs, and the engine's own hook for every instruction as a witness.

What counts: every instruction that was executed, a HLT and an INT among them, but none that faulted. A repeated string
instruction counts one for each turn, and one for the look at an exhausted counter that ends it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.machine.machine import Machine
from tests.machine.guest import DATA, ORIGIN, handle32, handle64, long_mode, protected, real

NOP, HLT, RET = b"\x90", b"\xf4", b"\xc3"
RDTSC, PAUSE, CPUID, RDRAND = b"\x0f\x31", b"\xf3\x90", b"\x0f\xa2", b"\x0f\xc7\xf0"
UD2, IRET, IRETQ = b"\x0f\x0b", b"\xcf", b"\x48\xcf"


def mov(register: int, value: int) -> bytes:
    """MOV r32, imm32; registers by their number."""
    return bytes((0xB8 + register,)) + value.to_bytes(4, "little")


EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(8)


def halted(machine: Machine, **limits: Any) -> int:
    stop = machine.run(**limits)
    assert stop.reason == "halted", stop
    return machine.insns


@pytest.mark.parametrize("mode", [protected, long_mode])
@pytest.mark.parametrize(
    ("code", "count"),
    [
        (HLT, 1),
        (NOP * 7 + HLT, 8),
        (NOP * 2000 + HLT, 2001),
        # MOV ECX, 5; DEC ECX, JNZ back
        (mov(ECX, 5) + b"\xff\xc9\x75\xfc" + HLT, 1 + 2 * 5 + 1),
        (mov(ECX, 100_000) + b"\xff\xc9\x75\xfc" + HLT, 1 + 2 * 100_000 + 1),
        # CALL to a RET
        (b"\xe8\x01\x00\x00\x00" + HLT + RET, 3),
        # sites in the middle of a block
        (NOP + RDTSC + NOP * 3 + RDTSC + HLT, 7),
        (NOP * 3 + PAUSE + NOP + HLT, 6),
        (NOP + CPUID + NOP + HLT, 4),
        (NOP + RDRAND + NOP + HLT, 4),
        # RDMSR of EFER, which Unicorn executes; WRMSR of TSC_AUX, which we do
        (mov(ECX, 0xC0000080) + b"\x0f\x32" + NOP + HLT, 4),
        (mov(ECX, 0xC0000103) + b"\x0f\x30" + NOP + HLT, 4),
        # IN AL, 80h and OUT 80h, AL
        (NOP + b"\xe4\x80" + NOP + b"\xe6\x80" + NOP + HLT, 6),
        # twenty times round a block with RDTSC in it
        (mov(ECX, 20) + b"\x0f\x31\x90\xff\xc9\x75\xf9" + HLT, 1 + 20 * 4 + 1),
        # REP STOSB of 10; of 0; REP MOVSD of 6; REPE SCASB that ends early
        (mov(EDI, DATA) + mov(ECX, 10) + b"\xf3\xaa" + NOP + HLT, 2 + (10 + 1) + 2),
        (mov(EDI, DATA) + mov(ECX, 0) + b"\xf3\xaa" + NOP + HLT, 2 + 1 + 2),
        (mov(EDI, DATA) + mov(ESI, DATA + 64) + mov(ECX, 6) + b"\xf3\xa5" + NOP + HLT, 3 + (6 + 1) + 2),
        (mov(EDI, ORIGIN) + mov(ECX, 10) + b"\xb0\xbf\xf3\xae" + HLT, 3 + 2 + 1),
        # REP OUTSB and REP INSB of 4
        (mov(ESI, DATA) + mov(ECX, 4) + mov(EDX, 0x80) + b"\xf3\x6e" + NOP + HLT, 3 + (4 + 1) + 2),
        (mov(EDI, DATA) + mov(ECX, 4) + mov(EDX, 0x80) + b"\xf3\x6c" + NOP + HLT, 3 + (4 + 1) + 2),
        # loads and stores where no memory is
        (mov(EBX, 0x2000000) + b"\x8b\x03\x89\x03" + NOP + HLT, 5),
    ],
)
def test_straight_and_loops(mode: type, code: bytes, count: int) -> None:
    machine = mode(code)
    assert halted(machine) == count


def test_division_error_in_the_middle_of_a_block() -> None:
    # XOR EDX, EDX; XOR ECX, ECX; NOP; DIV ECX; NOP; HLT. The handler: ADD dword [ESP], 2; IRET
    machine = protected(b"\x31\xd2\x31\xc9\x90\xf7\xf1\x90\xf4")
    handle32(machine, 0, b"\x83\x04\x24\x02" + IRET)
    assert halted(machine) == 3 + 2 + 2


def test_division_error_at_the_start_of_a_block() -> None:
    # XOR EDX, EDX; XOR ECX, ECX; JMP +0; DIV ECX; NOP; HLT
    machine = protected(b"\x31\xd2\x31\xc9\xeb\x00\xf7\xf1\x90\xf4")
    handle32(machine, 0, b"\x83\x04\x24\x02" + IRET)
    assert halted(machine) == 3 + 2 + 2


def test_undefined_opcode() -> None:
    machine = protected(NOP * 3 + UD2 + NOP + HLT)
    handle32(machine, 6, b"\x83\x04\x24\x02" + IRET)
    assert halted(machine) == 3 + 2 + 2


def test_software_interrupt_counts() -> None:
    # NOP; INT 30h; NOP; HLT
    machine = protected(NOP + b"\xcd\x30" + NOP + HLT)
    handle32(machine, 0x30, NOP + IRET)
    assert halted(machine) == 2 + 2 + 2


def test_breakpoint_counts() -> None:
    machine = protected(NOP + b"\xcc" + NOP + HLT)
    handle32(machine, 3, IRET)
    assert halted(machine) == 2 + 1 + 2


def test_page_fault_that_is_mended() -> None:
    # MOV EBX, address; NOP; MOV EAX, [RBX]; NOP; HLT, with a handler that maps the page:
    # OR byte [pd entry], 1; INVLPG [RBX]; ADD RSP, 8; IRETQ
    entry = 0x102000 + 8 * 3
    machine = long_mode(mov(EBX, 0x600000) + NOP + b"\x8b\x03" + NOP + HLT)
    machine.memory.put_u64(entry, 0x600082)
    handle64(machine, 14, b"\x80\x0c\x25" + entry.to_bytes(4, "little") + b"\x01\x0f\x01\x3b\x48\x83\xc4\x08" + IRETQ)
    assert halted(machine) == 2 + 4 + 3


def test_page_fault_in_the_middle_of_rep() -> None:
    # MOV EDI, end - 5; MOV ECX, 9; REP STOSB; HLT: five turns, the fault, four turns
    entry = 0x102000 + 8 * 3
    machine = long_mode(mov(EDI, 0x600000 - 5) + mov(ECX, 9) + b"\xf3\xaa" + HLT)
    machine.memory.put_u64(entry, 0x600082)
    handle64(machine, 14, b"\x80\x0c\x25" + entry.to_bytes(4, "little") + b"\x01\x0f\x01\x3f\x48\x83\xc4\x08" + IRETQ)
    assert halted(machine) == 2 + 5 + 4 + (4 + 1) + 1


def test_general_protection_by_a_site() -> None:
    # MOV ECX, unknown; NOP; RDMSR; NOP; HLT
    class NoMsrs:
        def read(self, msr: int) -> int | None:
            return None

        def write(self, msr: int, value: int) -> bool:
            return False

    machine = protected(mov(ECX, 0x12345) + NOP + b"\x0f\x32" + NOP + HLT)
    machine.msrs = NoMsrs()
    handle32(machine, 13, b"\x83\xc4\x04\x83\x04\x24\x02" + IRET)  # ADD ESP, 4; ADD dword [ESP], 2; IRET
    assert halted(machine) == 2 + 3 + 2


def test_self_modification_in_the_middle_of_a_block() -> None:
    # MOV byte [imm of the last MOV], 7; NOP; MOV EAX, 1; HLT
    store = b"\xc6\x05" + (ORIGIN + 9).to_bytes(4, "little") + b"\x07"
    machine = protected(store + NOP + mov(EAX, 1) + HLT)
    assert halted(machine) == 4
    assert machine.cpu.get("rax") == 7
    # the same ten times: MOV ECX, 10; NOP; INC byte [imm]; NOP; MOV EAX, 0; ADD EBX, EAX; DEC ECX; JNZ; HLT
    add = b"\xfe\x05" + (ORIGIN + 14).to_bytes(4, "little")
    machine = protected(mov(ECX, 10) + NOP + add + NOP + mov(EAX, 0) + b"\x01\xc3\xff\xc9\x75\xed" + HLT)
    assert halted(machine) == 1 + 10 * 7 + 1
    assert machine.cpu.get("rbx") == 55


def test_trap_to_the_host_counts() -> None:
    seen: list[int] = []
    machine = protected(b"\xb0\x21" + b"\xe6\xe4" + NOP + HLT)
    machine.trap(0xE4, seen.append)
    assert halted(machine) == 4
    assert seen == [0x21]


def test_syscall_counts() -> None:
    # SYSCALL leads to a NOP; HLT behind it
    machine = long_mode(mov(ECX, 0xC0000082) + b"\x31\xd2" + mov(EAX, ORIGIN + 0x40) + b"\x0f\x30\x90\x0f\x05\x90\xf4")
    machine.memory.write(ORIGIN + 0x40, NOP + HLT)
    assert halted(machine) == 3 + 1 + 1 + 1 + 2


# Code segments with a base: in real mode the instruction pointer is not the address


def real_mov(register: int, value: int) -> bytes:
    """MOV r32, imm32 in 16-bit code."""
    return b"\x66" + mov(register, value)


@pytest.mark.parametrize(
    ("code", "count"),
    [
        (NOP * 3 + HLT, 4),
        (NOP + RDTSC + NOP + HLT, 4),
        (NOP + PAUSE + NOP + HLT, 4),
        (NOP + RDRAND + NOP + HLT, 4),
        (NOP + CPUID + NOP + HLT, 4),
        (real_mov(ECX, 0xC0000103) + b"\x0f\x30" + NOP + HLT, 4),
        (real_mov(ECX, 5) + b"\x0f\x31\x90\x66\x49\x75\xf9" + HLT, 1 + 5 * 4 + 1),
        (b"\xb0\x80\xe6\x80\xe4\x80" + HLT, 4),
        (real_mov(EDI, 0x9000) + real_mov(ECX, 5) + b"\xf3\xaa" + HLT, 2 + 6 + 1),
    ],
)
def test_real_mode(code: bytes, count: int) -> None:
    machine = real(code)
    assert halted(machine) == count
    assert machine.cpu.get("rip") == len(code)
    assert machine.cpu.get("cs") == ORIGIN >> 4
    again = real(code)
    again.watches.add(ORIGIN, lambda: None)
    assert halted(again) == count


def test_real_mode_interrupt_and_fault() -> None:
    # INT 20h; NOP; UD2; NOP; HLT, handlers at 0000:4000 and 0000:4010
    machine = real(b"\xcd\x20\x90\x0f\x0b\x90\xf4")
    machine.memory.write(4 * 0x20, b"\x00\x40\x00\x00")
    machine.memory.write(4 * 6, b"\x10\x40\x00\x00")
    machine.memory.write(0x4000, NOP + IRET)
    machine.memory.write(0x4010, b"\x55\x89\xe5\x83\x46\x02\x02\x5d" + IRET)  # PUSH BP; MOV BP, SP; ADD [BP+2], 2; POP BP
    assert halted(machine) == 1 + 2 + 1 + 5 + 2


def test_real_mode_trap() -> None:
    seen: list[tuple[int, int]] = []
    machine = real(b"\xb0\x21\xe6\xe4\x90\xf4")
    machine.trap(0xE4, lambda number: seen.append((number, machine.cpu.get("rip"))))
    assert halted(machine) == 4
    assert seen == [(0x21, 4)]


def test_real_mode_code_is_named_by_address() -> None:
    machine = real(b"\x90\xe4\x80\x0f\xa2\xf4")
    halted(machine)
    assert [(touch.kind.value, touch.code) for touch in machine.ledger.touches()] == [
        ("port", ORIGIN + 1),
        ("cpuid", ORIGIN + 3),
    ]


# The same count, whatever looks on


LOOP = mov(ECX, 300) + b"\x0f\x31\x90\xff\xc9\x75\xf9" + mov(EDI, DATA) + mov(ECX, 64) + b"\xf3\xaa" + NOP + HLT
LOOP_COUNT = 1 + 300 * 4 + 2 + (64 + 1) + 2


def test_watching_changes_nothing() -> None:
    bare = protected(LOOP)
    assert halted(bare) == LOOP_COUNT
    watched = protected(LOOP)
    hits: list[int] = []
    watched.watches.add(ORIGIN, lambda: hits.append(watched.insns))
    watched.watches.add(ORIGIN + 5, lambda: hits.append(watched.insns))
    watched.watches.add_code(0xFFF, (ORIGIN + 12) & 0xFFF, mov(EDI, DATA), hits.append)
    assert halted(watched) == LOOP_COUNT
    assert hits == [0, 5, ORIGIN + 12]
    for register in ("rax", "rcx", "rdx", "rdi", "rip", "eflags"):
        assert bare.cpu.get(register) == watched.cpu.get(register), register
    assert bare.now() == watched.now()


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3, 7, 100, 1201])
def test_stopping_on_the_way_changes_nothing(step: int) -> None:
    whole, sliced = protected(LOOP), protected(LOOP)
    assert halted(whole) == LOOP_COUNT
    limit = step
    while (stop := sliced.run(max_insns=limit)).reason == "insn limit":
        assert sliced.insns == limit
        limit += step
    assert stop.reason == "halted"
    assert sliced.insns == LOOP_COUNT
    assert sliced.now() == whole.now()
    for register in ("rax", "rcx", "rdx", "rdi", "rip", "eflags"):
        assert whole.cpu.get(register) == sliced.cpu.get(register), register


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000))
def test_endless_loop_ends_exactly(limit: int) -> None:
    # NOP; NOP; JMP back
    machine = protected(b"\x90\x90\xeb\xfc")
    stop = machine.run(max_insns=limit)
    assert (stop.reason, machine.insns) == ("insn limit", limit)
    assert machine.cpu.get("rip") == ORIGIN + limit % 3
