"""Where a program begins: in ring 3, and not in a kernel that a hypervisor keeps there, nor in virtual-8086 mode."""

from __future__ import annotations

import struct

import pytest

from efishim.machine.machine import Machine
from tests.machine.guest import GDT, STACK, TABLES, long_mode, protected

USER64, USER32, DATA_USER = 0x20 | 3, 0x28 | 3, 0x30 | 3
PROGRAM, KERNEL_OF_A_GUEST = 0x9000, 0xFFFF_8000_0000_9000
NOPS = b"\x90\xeb\xfd"
"""nop; jmp to it"""


def ring3(machine: Machine, selector: int, rip: int, flags: int = 2) -> None:
    """Let the code at ORIGIN, an IRET, lead there."""
    descriptors = (0x00AFFA000000FFFF, 0x00CFFA000000FFFF, 0x00CFF2000000FFFF)
    machine.memory.write(GDT + 0x20, struct.pack("<3Q", *descriptors))
    machine.cpu.set("gdtr.limit", 0x37)
    form = "<5Q" if machine.cpu.mode == 64 else "<5I"
    frame = struct.pack(form, rip, selector, flags, STACK - 0x800, DATA_USER)
    machine.memory.write(STACK, frame + bytes(0x20))
    machine.cpu.set("rsp", STACK)
    for place in (PROGRAM, PROGRAM + 0x800):
        machine.memory.write(place, NOPS)


def wide(rip: int, selector: int = USER64) -> Machine:
    """In long mode, with the first GiB for ring 3 at 0 and in the upper half."""
    machine = long_mode(b"\x48\xcf")
    machine.memory.put_u64(TABLES, TABLES + 0x1007)
    machine.memory.put_u64(TABLES + 8 * 256, TABLES + 0x1007)
    machine.memory.put_u64(TABLES + 0x1000, TABLES + 0x2007)
    machine.memory.put_u64(TABLES + 0x2000, 0x87)
    ring3(machine, selector, rip)
    return machine


def seen(machine: Machine, max_insns: int = 100) -> list[int]:
    """Where the program began, if it did."""
    met: list[int] = []
    machine.watches.on_ring3 = lambda: met.append(machine.engine.env.linear)
    assert machine.run(max_insns=max_insns).reason == "insn limit"
    return met


def test_a_program() -> None:
    assert seen(wide(PROGRAM)) == [PROGRAM]


def test_a_program_of_32_bits_in_long_mode() -> None:
    assert seen(wide(PROGRAM, USER32)) == [PROGRAM]


def test_a_kernel_in_the_upper_half() -> None:
    assert seen(wide(KERNEL_OF_A_GUEST)) == []


def test_a_program_of_such_a_kernel() -> None:
    machine = wide(KERNEL_OF_A_GUEST)
    target = PROGRAM + 0x800
    machine.memory.write(PROGRAM, b"\xb9\x05\x00\x00\x00\xff\xc9\x75\xfc\xb8" + struct.pack("<I", target) + b"\xff\xe0")
    assert seen(machine) == [target]


def test_ring_0_is_none() -> None:
    assert seen(long_mode(NOPS)) == []


def test_a_program_of_a_32_bit_kernel() -> None:
    """Its halves are elsewhere, and a paravirtualised one is in ring 1: all of ring 3 counts."""
    machine = protected(b"\xcf")
    ring3(machine, USER32, PROGRAM)
    assert seen(machine) == [PROGRAM]


@pytest.mark.parametrize("rip", [PROGRAM, PROGRAM + 0x800])
def test_virtual_8086_mode(rip: int) -> None:
    machine = protected(b"\xcf")
    ring3(machine, 0, rip, flags=0x20002)
    machine.memory.write(STACK + 16, struct.pack("<5I", STACK - 0x800, 0, 0, 0, 0))
    assert seen(machine) == []
    assert machine.cpu.get("eflags") & 0x20000, "it got there"
