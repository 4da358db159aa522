"""A board without a processor: time moves when the test says so."""

from __future__ import annotations

from collections.abc import Callable

from efishim.machine.bus import Bus
from efishim.machine.clock import Clock
from efishim.machine.cpu import BoardCpu, CpuidResult, InterruptController, MsrModel
from efishim.machine.memory import PhysicalMemory

NS = 1_000_000_000


class FakeBoard:
    """Implements `Board` as far as devices use it. `changes` counts calls of `interrupt_changed`."""

    cpu: BoardCpu

    def __init__(self, tsc_hz: int = 2_000_000_000) -> None:
        self.memory = PhysicalMemory()
        self.ports = Bus("port", 0x10000)
        self.mmio = Bus("mmio", 1 << 40)
        self.clock = Clock()
        self.interrupts: InterruptController | None = None
        self.msrs: MsrModel | None = None
        self.cpuid: Callable[[int, int], CpuidResult] | None = None
        self.tsc_hz = tsc_hz
        self.hypercall: Callable[[], int] | None = None
        self.dead_halt = "halted"
        self.waits = 0
        self.flushed: list[tuple[int, int]] = []
        self.changes = 0
        self.stops: list[str] = []
        self.port_access_ns = 0

    def interrupt_changed(self) -> None:
        self.changes += 1

    def trap(self, port: int, handler: Callable[[int], None]) -> None:
        raise NotImplementedError

    def stop(self, reason: str) -> None:
        self.stops.append(reason)

    def flush_code(self, address: int, size: int) -> None:
        self.flushed.append((address, size))

    def now(self) -> int:
        return self.clock.now

    def skip_to(self, when: int) -> None:
        self.advance(max(when - self.clock.now, 0))

    def device_access(self, ns: int) -> None:
        self.advance(ns)

    def tsc(self) -> int:
        return self.clock.now * self.tsc_hz // NS

    def afterwards(self, action: Callable[[], None]) -> None:
        action()

    def non_maskable_interrupt(self) -> None:
        raise AssertionError("nobody sends an NMI")

    def page_fault(self, address: int, *, error: int) -> None:
        raise NotImplementedError

    def wait_for_interrupt(self) -> None:
        self.waits += 1

    def advance(self, ns: int) -> None:
        """Let time pass; every event fires at its own moment."""
        end = self.clock.now + ns
        while (due := self.clock.next_deadline()) is not None and due <= end:
            self.clock.advance_to(due)
            self.clock.fire()
        self.clock.advance_to(end)

    def inb(self, port: int) -> int:
        self.advance(self.port_access_ns)
        return self.ports.read(port, 1)

    def outb(self, port: int, value: int) -> None:
        self.advance(self.port_access_ns)
        self.ports.write(port, 1, value)


class Line:
    """Records what a device does to its interrupt line."""

    def __init__(self) -> None:
        self.level = False
        self.edges = 0

    def __call__(self, level: bool) -> None:
        if level and not self.level:
            self.edges += 1
        self.level = level
