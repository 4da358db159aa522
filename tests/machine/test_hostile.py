"""Guests that make no sense: whatever the bytes, a run ends with a reason, soon, and the same way every time."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.machine.budget import LONGEST_BLOCK
from efishim.machine.machine import Machine
from efishim.machine.processor import GPRS
from tests.machine.guest import ORIGIN, handle32, handle64, long_mode, protected, real
from tests.machine.test_delivery import Controller

REASONS = {"halted", "triple fault", "insn limit", "wild jump", "endless loop", "lost stack"}
# Instructions that matter to the machine, in hexadecimal.
OPCODES = """
0f31 f390 0fa2 0f05 0f34 0f35 0f07 cf 48cf cd80 cc f4 fb fa 9d 9c 0f22c0 0f22d8 0f22e0 0f20c0 0f30 0f32 8ed8 8ed0 ec ee
6c f36e f3aa f3a4 e6e4 0fc7f0 ffe0 ffd0 c3 cb ebfe eb00 0f0118 0f0110 0f00d8 0f01f8 0f08 0f09 f00fb103 0f0b 0faef8
dbe3 d9e8 0f23f8 c7050080000090909090 890500810000 8803 8b03 66b81000 ea008000000800 0fff b800000100 b9800000c0 0f01f9
0faa ff2b ff1b 0fae03 0fae0b 0f06 c810001f 9a008000000800
"""
PIECES = [bytes.fromhex(code) for code in OPCODES.split()]
VALUES = [
    0,
    1,
    0x10,
    0x500,
    0x7000,
    0x8000,
    0x80000011,
    0xB8000,
    0x100000,
    0x200000,
    0x10000000,
    0xC0000080,
    0xF0000000,
    0xFFFFFFFF,
]
HANDLERS32 = [b"\xcf", b"\xf4", b"\x83\x04\x24\x01\xcf", b"\x83\xc4\x04\xcf", b"\xff\x04\x24\xcf"]
HANDLERS64 = [b"\x48\xcf", b"\xf4", b"\x48\xff\x04\x24\x48\xcf", b"\x48\x83\x44\x24\x08\x01\x48\x83\xc4\x08\x48\xcf"]


def program(chance: random.Random) -> bytes:
    code = b""
    while len(code) < chance.choice([8, 40, 200]):
        kind = chance.random()
        if kind < 0.45:
            code += chance.choice(PIECES)
        elif kind < 0.7:
            code += bytes((chance.randrange(0xB8, 0xC0),)) + struct.pack("<I", chance.choice(VALUES))
        else:
            code += chance.randbytes(chance.choice([1, 2, 3, 6]))
    return code


def hostile(seed: int) -> Machine:
    """A machine with a random program in a random mode, with handlers of some sort, interrupts, ROM, a watch."""
    chance = random.Random(seed)
    make = chance.choice([real, protected, long_mode])

    def add_rom(machine: Machine) -> None:
        if chance.random() < 0.3:
            machine.memory.add(0xF0000000, 0x1000, name="rom", writable=False)

    machine = make(program(chance), seed=seed, prepare=add_rom)
    for register in ("rax", "rcx", "rdx", "rbx", "rsi", "rdi", "rbp"):
        machine.cpu.set(register, chance.choice(VALUES))
    if make is real:
        for vector in range(256):
            machine.memory.write(4 * vector, struct.pack("<HH", 0x4000, 0))
        machine.memory.write(0x4000, chance.choice([b"\xcf", b"\xf4", b"\x55\x89\xe5\xff\x46\x02\x5d\xcf"]))
    elif chance.random() < 0.8:
        for vector in (*range(20), 0x30, 0x80):
            if make is protected:
                handle32(machine, vector, chance.choice(HANDLERS32))
            else:
                handle64(machine, vector, chance.choice(HANDLERS64))
    if chance.random() < 0.4:
        machine.interrupts = Controller(*chance.choices([8, 0x20, 0x30], k=3))
    if chance.random() < 0.3:
        machine.trap(0xE4, lambda _number: None)
    if chance.random() < 0.3:
        machine.watches.add(ORIGIN + chance.randrange(8), lambda: None)
    return machine


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(st.integers(0, 1 << 40), st.integers(1, 3000))
def test_a_run_ends_with_a_reason(seed: int, limit: int) -> None:
    outcomes = []
    for _ in range(2):
        machine = hostile(seed)
        stop = machine.run(max_insns=limit)
        assert stop.reason in REASONS
        assert machine.insns <= limit + LONGEST_BLOCK
        state = [machine.cpu.get(name) for name in (*GPRS, "rip", "eflags", "cr0", "cr2", "cr3")]
        outcomes.append((stop, machine.insns, machine.now(), state, machine.ledger.touches()))
    assert outcomes[0] == outcomes[1]
