"""Hooks change nothing: random programs on the machine, watched, and on bare Unicorn without a single hook."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unicorn import Uc
from unicorn import unicorn_const as uc_const
from unicorn import x86_const as x86

from efishim.machine.machine import Machine
from tests.machine.guest import DATA, ORIGIN, RAM, STACK, protected

REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
FREE = [0, 1, 2, 3]
"""Registers that the programs compute with. EBP and EDI point at data, ESI counts loops, ESP is the stack."""

register = st.sampled_from(FREE)
byte = st.integers(0, 255)
dword = st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF)
offset = st.integers(0, 31).map(lambda number: number * 4)


def modrm(kind: int, reg: int, rm: int) -> bytes:
    return bytes((kind << 6 | reg << 3 | rm,))


def two_registers(opcode: bytes) -> st.SearchStrategy[bytes]:
    return st.builds(lambda reg, rm: opcode + modrm(3, reg, rm), register, register)


def of_memory(opcode: bytes) -> st.SearchStrategy[bytes]:
    """With a 32-bit displacement from EBP."""
    return st.builds(lambda reg, disp: opcode + modrm(2, reg, 5) + struct.pack("<I", disp), register, offset)


def one_register(opcode: bytes, extension: int, *, size: int = 0) -> st.SearchStrategy[bytes]:
    return st.builds(
        lambda rm, tail: opcode + modrm(3, extension, rm) + tail, register, st.binary(min_size=size, max_size=size)
    )


ARITHMETIC = [b"\x01", b"\x09", b"\x11", b"\x19", b"\x21", b"\x29", b"\x31", b"\x39", b"\x85", b"\x0f\xaf", b"\x87"]
instruction = st.one_of(
    *(two_registers(opcode) for opcode in ARITHMETIC),
    *(of_memory(opcode) for opcode in (b"\x89", b"\x8b", b"\x03", b"\x01", b"\x0f\xb6", b"\x0f\xbf", b"\x33", b"\x87")),
    *(one_register(b"\xc1", extension, size=1) for extension in (0, 1, 2, 3, 4, 5, 7)),
    *(one_register(b"\xf7", extension) for extension in (2, 3, 4, 5)),
    *(one_register(b"\xff", extension) for extension in (0, 1)),
    st.builds(lambda rm, value: bytes((0xB8 + rm,)) + struct.pack("<I", value), register, dword),
    st.builds(lambda rm, value: b"\x81" + modrm(3, 5, rm) + struct.pack("<I", value), register, dword),
    st.builds(lambda condition, rm: b"\x0f" + bytes((0x90 | condition,)) + modrm(3, 0, rm), st.integers(0, 15), register),
    st.builds(lambda c, reg, rm: b"\x0f" + bytes((0x40 | c,)) + modrm(3, reg, rm), st.integers(0, 15), register, register),
    st.builds(lambda rm: b"\x0f" + bytes((0xC8 + rm,)), register),
    st.builds(lambda first, second: bytes((0x50 + first, 0x58 + second)), register, register),
    # Jcc over the next two bytes, which are XOR EAX, EAX or a NOP pair
    st.builds(lambda c, over: bytes((0x70 | c, 2)) + over, st.integers(0, 15), st.sampled_from([b"\x31\xc0", b"\x90\x90"])),
    # CALL to the next instruction but one: a POP takes the address back, relative to the program
    st.just(b"\xe8\x00\x00\x00\x00\x58\x2d" + struct.pack("<I", ORIGIN)),
    # a block of string instructions: PUSH EDI, ESI, ECX; MOV ECX, 5; MOV ESI, EBP; REP MOVSB; POP ECX, ESI, EDI
    st.just(b"\x57\x56\x51\xb9\x05\x00\x00\x00\x89\xee\xf3\xa4\x59\x5e\x5f"),
    # MOVD XMM0, EAX; PADDD XMM0, XMM0; MOVD ECX, XMM0
    st.just(b"\x66\x0f\x6e\xc0\x66\x0f\xfe\xc0\x66\x0f\x7e\xc1"),
    st.sampled_from([b"\xf8", b"\xf9", b"\xf5", b"\x98", b"\x99", b"\x9f", b"\x9e", b"\x90", b"\xfc"]),
)
programs = st.lists(instruction, min_size=1, max_size=60)


def loop(body: list[bytes], turns: int) -> bytes:
    """MOV ESI, turns; body; DEC ESI; JNZ back; HLT."""
    code = b"".join(body)
    back = -(len(code) + 1 + 6)
    return b"\xbe" + struct.pack("<I", turns) + code + b"\x4e\x0f\x85" + struct.pack("<i", back) + b"\xf4"


def start(machine: Machine, values: list[int]) -> None:
    for name, value in zip(("rax", "rcx", "rdx", "rbx"), values, strict=True):
        machine.cpu.set(name, value)
    machine.cpu.set("rbp", DATA)
    machine.cpu.set("rdi", DATA + 0x100)


def bare(code: bytes, values: list[int]) -> tuple[list[int], bytes, int]:
    """The same on Unicorn alone: registers and flags, data, and how many instructions a second run counts."""
    counted = 0
    for counting in (False, True):
        uc: Any = Uc(uc_const.UC_ARCH_X86, uc_const.UC_MODE_32)
        uc.mem_map(0, RAM)
        uc.mem_write(ORIGIN, code)
        for name, value in zip(("EAX", "ECX", "EDX", "EBX"), values, strict=True):
            uc.reg_write(getattr(x86, f"UC_X86_REG_{name}"), value)
        uc.reg_write(x86.UC_X86_REG_ESP, STACK)
        uc.reg_write(x86.UC_X86_REG_EBP, DATA)
        uc.reg_write(x86.UC_X86_REG_EDI, DATA + 0x100)
        uc.reg_write(x86.UC_X86_REG_EFLAGS, 2)
        uc.reg_write(x86.UC_X86_REG_CR0, 0x33)
        uc.reg_write(x86.UC_X86_REG_CR4, 0x600)
        if counting:
            executed: list[int] = []
            uc.hook_add(uc_const.UC_HOOK_CODE, lambda _uc, address, _size, seen: seen.append(address), executed)
            uc.emu_start(ORIGIN, ORIGIN + len(code) - 1)
            counted = len(executed) + 1
            continue
        uc.emu_start(ORIGIN, ORIGIN + len(code) - 1)
        registers = [uc.reg_read(getattr(x86, f"UC_X86_REG_{name.upper()}")) for name in REGISTERS]
        state = [*registers, uc.reg_read(x86.UC_X86_REG_EFLAGS)]
        data = bytes(uc.mem_read(DATA, 0x1000))
    return state, data, counted


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(programs, st.integers(1, 4), st.lists(dword, min_size=4, max_size=4), st.data())
def test_hooks_change_nothing(body: list[bytes], turns: int, values: list[int], data: st.DataObject) -> None:
    code = loop(body, turns)
    expected, memory, counted = bare(code, values)
    machine = protected(code)
    machine.cpu.set("cr4", 0x600)
    start(machine, values)
    hits: list[int] = []
    for place in data.draw(st.lists(st.integers(0, len(code)), max_size=5)):
        machine.watches.add(ORIGIN + place, lambda: hits.append(machine.insns))
    slices = data.draw(st.lists(st.integers(1, 200), max_size=4))
    for limit in sorted(slices):
        machine.run(max_insns=limit)
    assert machine.run(max_insns=100_000).reason == "halted"
    found = [machine.cpu.get(f"r{name[1:]}") for name in REGISTERS]
    assert [*found, machine.cpu.get("eflags")] == expected
    assert machine.memory.read(DATA, 0x1000) == memory
    assert machine.insns == counted, "every instruction was counted once"
    assert hits == sorted(hits)
