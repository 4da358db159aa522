"""Small guests for the tests: bytes in memory, a mode, registers, and off they go."""

from __future__ import annotations

import struct
from collections.abc import Callable

from efishim.machine.machine import Machine

ORIGIN = 0x8000
STACK = 0x7000
GDT, IDT, HANDLERS = 0x1000, 0x2000, 0x4000
TABLES = 0x100000
"""PML4, PDPT, PD: one GiB in large pages, identity."""
DATA = 0x200000
RAM = 16 << 20
CODE32, DATA32, CODE64 = 8, 16, 24


def build(code: bytes, *, seed: int = 0, ram: int = RAM, prepare: Callable[[Machine], None] = lambda _: None) -> Machine:
    """A machine that is on, with RAM from 0 and `code` at ORIGIN. `prepare` attaches devices."""
    machine = Machine(seed=seed)
    machine.memory.add(0, ram)
    prepare(machine)
    machine.memory.write(ORIGIN, code)
    machine.memory.write(GDT, struct.pack("<4Q", 0, 0x00CF9A000000FFFF, 0x00CF92000000FFFF, 0x00AF9A000000FFFF))
    machine.power_on()
    processor = machine.engine.processor
    for name in ("ds", "es", "fs", "gs", "ss"):
        processor.load_segment(name, DATA32, base=0, limit=0xFFFFFFFF, flags=0x00CF9300)
    processor.load_segment("tr", 0, base=0, limit=0x67, flags=0x8B00)
    processor.set("gdtr.base", GDT)
    processor.set("gdtr.limit", 31)
    processor.set("idtr.base", IDT)
    processor.set("rip", ORIGIN)
    processor.set("rsp", STACK)
    processor.set("eflags", 2)
    return machine


def protected(code: bytes, *, seed: int = 0, ram: int = RAM, prepare: Callable[[Machine], None] = lambda _: None) -> Machine:
    """32-bit code, flat, no paging, without an IDT."""
    machine = build(code, seed=seed, ram=ram, prepare=prepare)
    processor = machine.engine.processor
    processor.load_segment("cs", CODE32, base=0, limit=0xFFFFFFFF, flags=0x00CF9B00)
    processor.set("cr4", 0)
    processor.set("efer", 0)
    processor.set("cr0", 0x33)
    processor.set("idtr.limit", 0)
    processor.sync(0)
    return machine


def long_mode(code: bytes, *, seed: int = 0, ram: int = RAM, prepare: Callable[[Machine], None] = lambda _: None) -> Machine:
    """64-bit code, the first GiB mapped to itself, without an IDT."""
    machine = build(code, seed=seed, ram=ram, prepare=prepare)
    machine.memory.put_u64(TABLES, TABLES + 0x1003)
    machine.memory.put_u64(TABLES + 0x1000, TABLES + 0x2003)
    for number in range(512):
        machine.memory.put_u64(TABLES + 0x2000 + 8 * number, number << 21 | 0x83)
    processor = machine.engine.processor
    processor.load_segment("cs", CODE64, base=0, limit=0xFFFFFFFF, flags=0x00AF9B00)
    processor.set("cr4", 0x620)
    processor.set("cr3", TABLES)
    processor.set("efer", 0xD01)
    processor.set("cr0", 0x80010033)
    processor.set("idtr.limit", 0)
    processor.sync(0)
    return machine


def real(code: bytes, *, seed: int = 0, ram: int = RAM, prepare: Callable[[Machine], None] = lambda _: None) -> Machine:
    """16-bit code in real mode at ORIGIN, which is 0800:0000; DS, ES and SS are 0, the interrupt vectors are at 0."""
    machine = build(code, seed=seed, ram=ram, prepare=prepare)
    processor = machine.engine.processor
    for name in ("ds", "es", "fs", "gs", "ss"):
        processor.load_segment(name, 0, base=0, limit=0xFFFF, flags=0x9300)
    processor.load_segment("cs", ORIGIN >> 4, base=ORIGIN, limit=0xFFFF, flags=0x9B00)
    processor.set("rip", 0)
    processor.set("cr4", 0)
    processor.set("efer", 0)
    processor.set("cr0", 0x10)
    processor.set("idtr.base", 0)
    processor.set("idtr.limit", 0x3FF)
    processor.sync(0)
    return machine


def handle32(machine: Machine, vector: int, code: bytes) -> None:
    """A 32-bit interrupt gate for `vector`, leading to `code` (at most 64 bytes)."""
    where = HANDLERS + 64 * vector
    machine.memory.write(where, code)
    machine.memory.write(IDT + 8 * vector, struct.pack("<HHHH", where & 0xFFFF, CODE32, 0x8E00, where >> 16))
    machine.cpu.set("idtr.limit", 0x7FF)


def handle64(machine: Machine, vector: int, code: bytes) -> None:
    """A 64-bit interrupt gate for `vector`, leading to `code` (at most 64 bytes)."""
    where = HANDLERS + 64 * vector
    machine.memory.write(where, code)
    machine.memory.write(IDT + 16 * vector, struct.pack("<HHHHQ", where & 0xFFFF, CODE64, 0x8E00, where >> 16, 0))
    machine.cpu.set("idtr.limit", 0xFFF)
