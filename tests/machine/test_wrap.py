"""Outside of 64-bit mode linear addresses are taken modulo 2^32 (SDM volume 3, 3.3): a code segment whose base and instruction
pointer wrap runs as a flat one does, as far as anybody can see."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from efishim.machine.delivery import Exception_
from efishim.machine.machine import Machine
from tests.machine.guest import CODE32, ORIGIN, handle32, protected

BASES = (0, 0x4000_0000, 0x8000_0000, 0xFFFF_0000)
HOLE, ROM = 0x4000_0000, 0x2000_0000
LOOP = b"\x49\x75"
"""dec ecx; jnz"""

PROGRAMS = {
    "rdtsc": b"\x0f\x31\xf4",
    "rdmsr": b"\xb9\x10\x00\x00\x00\x0f\x32\xf4",
    "pause": b"\xb9\x09\x00\x00\x00\xf3\x90" + LOOP + b"\xfb\xf4",
    "rdrand": b"\x0f\xc7\xf0\x0f\xc7\xf3\xf4",
    "cpuid": b"\x31\xc0\x0f\xa2\xf4",
    "ports": b"\xe6\x80\xe4\x80\xf4",
    "vmcall": b"\x90\x0f\x01\xc1\x40\xf4",
    "trap": b"\xb0\x11\xe6\xe4\x40\xf4",
    "hole": b"\xa1\x00\x00\x00\x40\xa3\x00\x00\x00\x40\x40\xf4",
    "store to ROM": b"\xa3\x00\x00\x00\x20\x40\x0f\x31\xf4",
    "invalid": b"\x40\x0f\x0b\xf4",
    "int": b"\x40\xcd\x06\x40\xf4",
    "code that is changed": b"\xb9\x05\x00\x00\x00\xfe\x05\x0c\x80\x00\x00\xb0\x00\x40" + LOOP + b"\xf5\xf4",
}


def wrapped(code: bytes, base: int, prepare: Callable[[Machine], None] = lambda _: None) -> Machine:
    """Code at ORIGIN by a code segment with this base; the other segments are flat."""
    calls: list[int] = []

    def attach(machine: Machine) -> None:
        machine.memory.add(ROM, 0x1000, writable=False)
        machine.cpuid = lambda leaf, _subleaf: (leaf, 2, 3, 4)
        machine.trap(0xE4, calls.append)
        prepare(machine)

    machine = protected(code, prepare=attach)
    machine.hypercall = lambda: 7 << 32
    handle32(machine, 6, b"\x40\x0f\x31\xf4")
    machine.memory.write(0x1000 + CODE32, struct.pack("<Q", 0x00CF9A000000FFFF))
    processor = machine.engine.processor
    processor.load_segment("cs", CODE32, base=base, limit=0xFFFFFFFF, flags=0x00CF9B00)
    processor.set("rip", ORIGIN - base & 0xFFFF_FFFF)
    processor.sync(0)
    return machine


def seen(machine: Machine) -> list[object]:
    return [
        machine.insns,
        machine.clock.now,
        *(machine.cpu.get(name) for name in ("rax", "rbx", "rcx", "rdx")),
        [(touch.kind, touch.address, touch.write, touch.code, touch.count, touch.first) for touch in machine.ledger.touches()],
    ]


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_flat(name: str) -> None:
    results = []
    for base in BASES:
        machine = wrapped(PROGRAMS[name], base)
        exceptions: list[tuple[Exception_, int]] = []
        machine.on_exception = lambda event, where, into=exceptions: into.append((event, where))
        stop = machine.run(max_insns=10_000)
        results.append((stop.reason, stop.detail, exceptions, seen(machine)))
    assert all(result == results[0] for result in results), results
    assert results[0][0] == "halted"


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("budget", [1, 2, 3, 7])
def test_budget(base: int, budget: int) -> None:
    machine = wrapped(b"\x40" * 10 + b"\xf4", base)
    assert machine.run(max_insns=budget).reason == "insn limit"
    assert (machine.insns, machine.cpu.get("rax"), machine.engine.env.linear) == (budget, budget, ORIGIN + budget)


@pytest.mark.parametrize("base", BASES)
def test_places_are_linear_addresses(base: int) -> None:
    """Before the machine runs, and once the block is known; by address, and by code."""
    machine = wrapped(b"\xb9\x03\x00\x00\x00\xeb\x00\x40" + LOOP + b"\xfc\xeb\x00\x40\xf4", base)
    met: list[int] = []
    machine.watches.add(ORIGIN + 7, lambda: met.append(machine.insns))
    machine.watches.add_code(0xFFF, ORIGIN + 13 & 0xFFF, b"\x40\xf4", met.append)
    assert machine.run(max_insns=1000).reason == "halted"
    assert met == [2, ORIGIN + 13]


def test_a_place_beyond_4_gib_is_another() -> None:
    machine = wrapped(b"\xeb\x00\x40\xf4", BASES[1])
    met: list[int] = []
    machine.watches.add(1 << 32 | ORIGIN + 2, lambda: met.append(1))
    assert machine.run(max_insns=1000).reason == "halted"
    assert not met


def test_a_stop_names_the_linear_address() -> None:
    machine = wrapped(b"\xf4", BASES[1])
    assert f"{ORIGIN + 1:#x}" in machine.run().detail
