"""The high precision event timer: a 100 MHz counter with three comparators, as in QEMU.

Source: IA-PC HPET specification 1.0a (2004), chapter 2; which capabilities: hw/timer/hpet.c of QEMU. There are no
message-signalled interrupts. In legacy mode the first two comparators take the interrupts 0 and 8 away from timer and
clock chip (section 2.2.7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from efishim.machine.clock import Event
from efishim.machine.cpu import Board

HPET_BASE, HPET_SIZE = 0xFED0_0000, 0x400
TICK_NS = 10
ACCESS_NS = 500
"""What a load or store takes, behind PCI and an ISA bridge. Linux measures it (drivers/char/hpet.c, hpet_calibrate())."""
ID = 10_000_000 << 32 | 0x8086_A201
"""Femtoseconds in a tick; Intel, legacy mode, 64 bits, three comparators, revision 1."""
ENABLE, LEGACY = 1 << 0, 1 << 1
LEVEL, INTERRUPT, PERIODIC, PERIODIC_CAPABLE, WIDE_CAPABLE, SET_VALUE, NARROW = (1 << n for n in (1, 2, 3, 4, 5, 6, 8))
ROUTE_SHIFT, ROUTE_MASK = 9, 0x1F
ROUTES = 1 << 2
"""Inputs of the I/O APIC that a comparator may lead to: QEMU's machine `pc` has one."""
WRITABLE = LEVEL | INTERRUPT | PERIODIC | SET_VALUE | NARROW | ROUTE_MASK << ROUTE_SHIFT
COMPARATORS = 3
WIDE, HALF = (1 << 64) - 1, (1 << 32) - 1
LEAST, NEVER = 10, 1 << 60
"""Ticks: interrupts that repeat come no closer together, and for what is 365 years away nothing waits."""
Line = Callable[[bool], None]


class LegacyLines:
    """The interrupts 0 and 8, which belong to timer and clock chip until the HPET takes them."""

    def __init__(self, line: Callable[[int], Line]) -> None:
        self._line = line
        self._levels: dict[int, bool] = {}
        self._taken = False

    def device(self, irq: int) -> Line:
        """The line as a device takes it that is not the HPET."""
        drive = self._line(irq)
        if irq not in {0, 8}:
            return drive
        self._levels[irq] = False

        def of_device(level: bool) -> None:
            self._levels[irq] = level
            if not self._taken:
                drive(level)

        return of_device

    def take(self, *, taken: bool) -> None:
        """Give them to the HPET, or back."""
        self._taken = taken
        for irq, level in self._levels.items():
            self._line(irq)(level and not taken)

    def pulse(self, irq: int) -> None:
        """An edge from the HPET."""
        drive = self._line(irq)
        drive(True)
        drive(False)


@dataclass
class _Comparator:
    config: int = PERIODIC_CAPABLE | WIDE_CAPABLE
    value: int = WIDE
    period: int = 0
    event: Event | None = None

    @property
    def mask(self) -> int:
        return HALF if self.config & NARROW else WIDE


class Hpet:
    """Registers at HPET_BASE. `routed(input, level)` drives an input of the I/O APIC."""

    def __init__(self, board: Board, legacy: LegacyLines, routed: Callable[[int, bool], None]) -> None:
        self._board = board
        self._clock = board.clock
        self._now = board.now
        self._legacy = legacy
        self._routed = routed
        self._config = 0
        self._status = 0
        self._counter = 0
        """The counter while it stands, or what it would have been at time zero."""
        self._comparators = [_Comparator() for _ in range(COMPARATORS)]

    # The counter

    def counter(self) -> int:
        """Ticks."""
        running = self._now() // TICK_NS if self._config & ENABLE else 0
        return (self._counter + running) & WIDE

    def _plan(self, number: int) -> None:
        """Wait for the moment at which the comparator is met."""
        one = self._comparators[number]
        if one.event is not None:
            self._clock.cancel(one.event)
            one.event = None
        if self._config & ENABLE and one.config & INTERRUPT:
            ticks = (one.value - self.counter()) & one.mask or one.mask + 1
            if one.config & PERIODIC:
                ticks = max(ticks, LEAST)
            if ticks < NEVER:
                due = (self._now() // TICK_NS + ticks) * TICK_NS
                one.event = self._clock.at(due, lambda: self._met(number))

    def _met(self, number: int) -> None:
        one = self._comparators[number]
        one.event = None
        if one.config & PERIODIC and one.period:
            # Periods that no read can observe any more are skipped.
            late = (self.counter() - one.value) & one.mask
            one.value = (one.value + (late // one.period + 1) * one.period) & one.mask
        self._interrupt(number)
        self._plan(number)

    def _interrupt(self, number: int) -> None:
        config, route = self._comparators[number].config, self._comparators[number].config >> ROUTE_SHIFT & ROUTE_MASK
        if config & LEVEL:
            self._status |= 1 << number
            self._drive_levels()
        elif self._config & LEGACY and number < 2:
            self._legacy.pulse((0, 8)[number])
        elif ROUTES >> route & 1:
            self._routed(route, True)
            self._routed(route, False)

    def _drive_levels(self) -> None:
        for number, one in enumerate(self._comparators):
            route = one.config >> ROUTE_SHIFT & ROUTE_MASK
            if one.config & LEVEL and ROUTES >> route & 1:
                self._routed(route, bool(self._status >> number & 1))

    # Registers

    def _register(self, offset: int) -> int:
        if offset == 0x00:
            return ID
        if offset == 0x10:
            return self._config
        if offset == 0x20:
            return self._status
        if offset == 0xF0:
            return self.counter()
        number, within = divmod(offset - 0x100, 0x20)
        if not 0 <= number < COMPARATORS:
            return 0
        one = self._comparators[number]
        return ROUTES << 32 | one.config if within == 0 else one.value if within == 8 else 0

    def read(self, offset: int, size: int) -> int:
        """Any part of a register of 64 bits."""
        self._board.device_access(ACCESS_NS)
        return self._register(offset & ~7) >> 8 * (offset & 7) & ((1 << 8 * size) - 1)

    def write(self, offset: int, size: int, value: int) -> None:
        """A whole register or one of its halves; narrower stores are not allowed (section 2.1) and ignored."""
        self._board.device_access(ACCESS_NS)
        if size < 4:
            return
        register, shift = offset & ~7, 8 * (offset & 7)
        mask = ((1 << 8 * size) - 1) << shift
        merged = self._register(register) & ~mask | value << shift & mask
        if register == 0x10:
            self._configure(merged & (ENABLE | LEGACY))
        elif register == 0x20:
            self._status &= ~(value << shift & mask)
            self._drive_levels()
        elif register == 0xF0:
            if not self._config & ENABLE:
                self._counter = merged
        elif register >= 0x100:
            number, within = divmod(register - 0x100, 0x20)
            if number < COMPARATORS:
                self._write_comparator(number, within, merged & WIDE)

    def _configure(self, config: int) -> None:
        if (config ^ self._config) & ENABLE:
            ticks = self._now() // TICK_NS
            self._counter = (self._counter + (-ticks if config & ENABLE else ticks)) & WIDE
        if (config ^ self._config) & LEGACY:
            self._legacy.take(taken=bool(config & LEGACY))
        self._config = config
        for number in range(COMPARATORS):
            self._plan(number)

    def _write_comparator(self, number: int, within: int, merged: int) -> None:
        one = self._comparators[number]
        if within == 0:
            one.config = one.config & ~WRITABLE | merged & WRITABLE
        elif within == 8:
            value = merged & one.mask
            if not one.config & PERIODIC or one.config & SET_VALUE:
                one.value = value
            if one.config & PERIODIC:
                one.period = value
            one.config &= ~SET_VALUE
        self._plan(number)
