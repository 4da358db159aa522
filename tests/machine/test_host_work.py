"""One action of the guest gets a budget of the host's work, by how much memory the guest has."""

from __future__ import annotations

import pytest

from efishim.machine.host_work import OPERATIONS, PER_PAGE, HostWork, Overdue, TooMuchWork
from efishim.machine.memory import PhysicalMemory
from tests.machine.guest import RAM, protected


def test_budget() -> None:
    work = HostWork()
    with work.bounded(10):
        work.spend(OPERATIONS + 10 * PER_PAGE)
        with pytest.raises(TooMuchWork):
            work.spend(1)


def test_each_action_has_its_own() -> None:
    work = HostWork()
    for _ in range(3):
        with work.bounded(0):
            work.spend(OPERATIONS)


def test_nothing_is_counted_outside() -> None:
    work = HostWork()
    with work.bounded(1):
        pass
    work.spend(1 << 70)
    work.spend(1 << 70)
    work.hurry()
    work.spend(1 << 70)


def test_overdue() -> None:
    work = HostWork()
    with work.bounded(1):
        work.hurry()
        with pytest.raises(Overdue):
            work.spend(1)
    with work.bounded(1), pytest.raises(Overdue):
        work.spend(1)


@pytest.mark.parametrize("size", [1, 0x1000, 0x10_0000])
def test_accesses_to_memory_are_counted(size: int) -> None:
    memory = PhysicalMemory()
    memory.add(0, RAM)
    for access in (lambda: memory.read(0, size), lambda: memory.write(0, bytes(size)), lambda: memory.fill(0, size)):
        with memory.work.bounded(0):
            access()
            assert memory.work.left == OPERATIONS - 1 - size // 0x1000


def test_all_of_memory_can_be_moved() -> None:
    machine = protected(b"\x0f\x01\xc1\xf4")

    def move() -> int:
        for page in range(0x10000, RAM - 0x1000, 0x1000):
            machine.cpu.write(page + 0x1000, machine.cpu.read(page, 0x1000))
        return 0

    machine.hypercall = move
    assert machine.run().reason == "halted"


@pytest.mark.slow
def test_a_run_ends_by_its_name() -> None:
    machine = protected(b"\x0f\x01\xc1\xf4")

    def forever() -> int:
        while True:
            machine.cpu.read(0, 0x1000)

    machine.hypercall = forever
    stop = machine.run()
    assert stop.reason == "too much work"
    assert "0x8003" in stop.detail
