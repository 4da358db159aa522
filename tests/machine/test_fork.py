"""A process that forks while the guest is stopped has two machines, and neither is disturbed by the other."""

from __future__ import annotations

import hashlib
import os
import warnings

import pytest

from efishim.machine.access_observer import ObservedRange
from efishim.machine.machine import Machine
from tests.machine import guest

LOOP = bytes.fromhex("b9e8030000ff0425100020000f3101c3ffc975f1f4")
"""A thousand times: inc dword [0x200010]; rdtsc; add ebx, eax."""
AFTER = guest.ORIGIN + 5


def outcome(machine: Machine) -> bytes:
    """Everything that a run leaves: state, memory, time, blocks, accesses."""
    stop = machine.run(max_insns=100_000)
    registers = [machine.cpu.get(name) for name in ("rax", "rbx", "rcx", "rdx", "rip", "rsp", "eflags")]
    blocks, accesses = machine.engine.native.blocks(), machine.engine.observer.accesses()
    text = repr((stop, machine.insns, machine.clock.now, registers, machine.memory.read(0, 0x400000), blocks, accesses))
    return hashlib.sha256(text.encode()).digest()


def build() -> Machine:
    machine = guest.long_mode(LOOP)
    machine.engine.observer.watch(ObservedRange(0x200000, 0x1000))
    return machine


@pytest.mark.slow
def test_two_machines_where_one_was() -> None:
    machine = build()
    reading, writing = os.pipe()
    child = -1

    def split() -> None:
        nonlocal child
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the threads of a test runner: none of them runs the guest
            child = os.fork()

    machine.watches.add(AFTER, split)
    try:
        mine = outcome(machine)
        if child == 0:
            os.write(writing, mine)
    finally:
        if child == 0:
            os._exit(0)
    os.close(writing)
    theirs = os.read(reading, 64)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert machine.memory.u32(0x200010) == 1000
    assert mine == theirs
    machine = build()
    machine.watches.add(AFTER, lambda: None)
    assert mine == outcome(machine), "a watch is no disturbance, a fork is none"
