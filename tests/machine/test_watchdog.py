"""The host's limits end a run within about a second of the host's time, whatever the guest does; other runs do not change."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from efishim.machine.machine import SLICE, Machine, Stop
from efishim.machine.watchdog import INTERVAL
from tests.machine.guest import protected

LIMIT = 0.4
"""Seconds until a run is overdue."""
PATIENCE = 6.0
"""Seconds after which it must have ended, on a host that does other things too."""
ROM = 0x2000_0000
TIMEOUT = Stop("timeout")

LOOPS = {
    "rdtsc": b"\x0f\x31\xeb\xfc",
    "in": b"\xec\xeb\xfd",
    "out": b"\xe6\x80\xeb\xfc",
    "rep insb": b"\xbf\x00\x00\x20\x00\xb9\xff\xff\xff\x7f\xf3\x6c\xeb\xf2",
    "cpuid": b"\x31\xc0\x0f\xa2\xeb\xfa",
    "rdmsr": b"\xb9\x10\x00\x00\x00\x0f\x32\xeb\xfc",
    "load from a hole": b"\xa1\x00\x00\x00\x40\xeb\xf9",
    "store to a hole": b"\xa3\x00\x00\x00\x40\xeb\xf9",
    "rep stosd over a hole": b"\xbf\x00\x00\x00\x40\xb9\xff\xff\xff\x0f\xf3\xab\xeb\xf2",
    "store to ROM": b"\xa3\x00\x00\x00\x20\xeb\xf9",
    "pause": b"\xf3\x90\xeb\xfc",
    "code that is changed": b"\xfe\x05\x09\x80\x00\x00\x90\xb0\x00\x90\xeb\xf5",
    "zeroes": b"\xb8\x00\x00\x30\x00\xe9\x00\x00\x80\x00",
    "jump to itself": b"\xeb\xfe",
}


def guest(code: bytes) -> Machine:
    """32-bit code with 32 MiB of RAM and a page of ROM."""

    def rom(machine: Machine) -> None:
        machine.memory.add(ROM, 0x1000, writable=False)

    return protected(code, ram=32 << 20, prepare=rom)


def ends(machine: Machine, overdue_after: float = LIMIT) -> float:
    """Seconds between the moment at which the run is overdue and its end."""
    begun, due = time.process_time(), time.monotonic() + overdue_after
    stop = machine.run(
        poll=lambda: TIMEOUT if time.monotonic() > due else None,
        overdue=lambda: time.monotonic() > due,
    )
    assert stop is TIMEOUT
    return time.process_time() - begun - overdue_after


@pytest.mark.parametrize("name", LOOPS)
def test_timeout(name: str) -> None:
    machine = guest(LOOPS[name])
    assert ends(machine) < PATIENCE
    if name == "rdtsc":
        assert machine.insns < SLICE, "the loop would have come back by itself"


@pytest.mark.slow
def test_a_run_that_is_not_overdue_is_as_without_a_watchdog() -> None:
    code = b"\xb9\x20\x4e\x00\x00\x0f\x31\xe2\xfc\xf4"  # 20,000 RDTSC, longer than an interval
    ran = []
    for overdue in (None, lambda: False):
        machine = protected(code)
        assert machine.run(overdue=overdue).reason == "halted"
        ran.append((machine.insns, machine.clock.now, machine.cpu.get("rax")))
    assert ran[0] == ran[1]


@pytest.mark.slow
def test_a_signal_that_ends_nothing_changes_nothing() -> None:
    """Its handler runs while the guest does, and the guest goes on where it was."""
    code = b"\xb9\x80\xc3\xc9\x01\xe2\xfe\xf4"  # LOOP, 30 million times
    plain = protected(code)
    assert plain.run().reason == "halted"
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: came.append(number))
    timers = [threading.Timer(0.1 * turn, os.kill, (os.getpid(), signal.SIGTERM)) for turn in range(1, 4)]
    machine = protected(code)
    try:
        for timer in timers:
            timer.start()
        assert machine.run(overdue=lambda: False).reason == "halted"
    finally:
        for timer in timers:
            timer.join()
        signal.signal(signal.SIGTERM, before)
    assert came
    assert (machine.insns, machine.cpu.get("rip")) == (plain.insns, plain.cpu.get("rip"))


def test_a_signal_is_handled_while_the_guest_runs() -> None:
    """Python's handler runs in the main thread, which is in a slice that takes a minute."""
    set_by_handler = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: set_by_handler.set())
    machine = guest(LOOPS["code that is changed"])
    sent = time.monotonic() + LIMIT
    timer = threading.Timer(LIMIT, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    try:
        machine.run(poll=lambda: TIMEOUT if set_by_handler.is_set() else None, overdue=set_by_handler.is_set)
    finally:
        timer.join()
        signal.signal(signal.SIGTERM, before)
    assert time.monotonic() - sent < PATIENCE


def test_the_host_at_work_for_the_guest_is_stopped_too() -> None:
    machine = protected(b"\x0f\x01\xc1\xf4")  # VMCALL

    def work() -> int:
        while True:
            machine.memory.read(0, 1 << 20)
            time.sleep(INTERVAL / 100)

    machine.hypercall = work
    assert ends(machine) < PATIENCE


def test_waiting_is_stopped_too() -> None:
    """HLT with a timer that fires for ever and interrupts nobody."""
    machine = protected(b"\xfb\xf4\xf4")

    def tick() -> None:
        machine.clock.at(machine.clock.now + 1, tick)

    machine.clock.at(1, tick)
    assert ends(machine, 0.2) < PATIENCE


def test_a_timer_that_catches_up_is_stopped_too() -> None:
    """A long wait, as int 15h/86 is, with a timer that would have fired two hundred million times meanwhile."""
    machine = protected(b"\x0f\x01\xc1\xf4")

    def tick() -> None:
        machine.clock.at(due.pop() + 20_000, tick)
        due.append(machine.clock.next_deadline() or 0)

    def wait() -> int:
        machine.skip_to(machine.now() + 4_000_000_000_000)
        return 0

    due = [20_000]
    machine.clock.at(20_000, tick)
    machine.hypercall = wait
    assert ends(machine) < PATIENCE


def test_no_thread_is_left() -> None:
    before, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert protected(b"\xf4").run(overdue=lambda: False).reason == "halted"
    assert threading.active_count() == before
    assert len(os.listdir("/proc/self/fd")) == descriptors
