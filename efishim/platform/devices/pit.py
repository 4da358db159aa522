"""The 8254 interval timer and port 0x61, wired as on a PC.

Channel 0 drives IRQ 0, channel 1 was the DRAM refresh (its output toggles in port 0x61), channel 2 is gated by port
0x61 and read back there. Sources: Intel 8254 datasheet (231164); port 0x61: PIIX3 datasheet (290550) section 2.5.6.1.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.machine.clock import Clock, Event

PIT_HZ = 1_193_182
NS = 1_000_000_000
REFRESH_NS = 15_085
"""Period of the refresh request (18 ticks), which bit 4 of port 0x61 halves."""

LOW, HIGH, BOTH = 1, 2, 3


def ticks_to_ns(ticks: int) -> int:
    """Time after which `ticks` periods have passed, rounded up: at that moment the counter shows it."""
    return -(-ticks * NS // PIT_HZ)


class Channel:
    """One counter. Times are nanoseconds of the virtual clock, counts are periods of 1193182 Hz."""

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self.mode = 3
        """As firmware leaves it: OUT is high, so that programming a periodic mode alone gives no edge."""
        self.gate = True
        self.bcd = False
        self.access = BOTH
        self.reload = 0
        self.running = False
        """A count was loaded since the mode was set (and, in modes 1 and 5, the gate triggered)."""
        self.start = 0
        self._frozen = 0
        """Ticks that had passed when the gate went low."""
        self._high_next_write = False
        self._high_next_read = False
        self._pending_low = 0
        self._count_latch: list[int] = []
        self._status_latch: int | None = None
        self._null_count = True

    def elapsed(self) -> int:
        """Ticks since the count was loaded, without those that the gate withheld."""
        if not self.running:
            return 0
        if not self.gate and self.mode not in {1, 5}:
            return self._frozen
        return (self._now() - self.start) * PIT_HZ // NS

    def count(self) -> int:
        """What the counting element shows."""
        modulus = 10_000 if self.bcd else 0x10000
        passed = self.elapsed()
        if not self.running:
            return self.reload % modulus
        if self.mode == 2:
            return (self.reload - passed % self.reload) % modulus
        if self.mode == 3:
            # Counts down by two; an odd count spends the extra tick at its top ("Mode 3: square wave mode").
            return (self.reload - 2 * passed % self.reload) % modulus & ~1
        return (self.reload - passed) % modulus

    def output(self) -> bool:
        """The OUT pin."""
        passed = self.elapsed()
        if self.mode in {0, 1}:
            return (self.running and passed >= self.reload) or (self.mode == 1 and not self.running)
        if not self.running or (self.mode in {2, 3} and not self.gate):
            return True
        if self.mode == 2:
            return passed % self.reload != self.reload - 1
        if self.mode == 3:
            return passed % self.reload < (self.reload + 1) // 2
        return passed != self.reload

    def next_rise(self) -> int | None:
        """The moment of the next rising edge of OUT that a running count will give, None when there is none."""
        if not self.running or (not self.gate and self.mode not in {1, 5}):
            return None
        passed = self.elapsed()
        if self.mode in {2, 3}:
            ticks = (passed // self.reload + 1) * self.reload
        else:
            # Modes 4 and 5 strobe low for one tick and rise after it.
            ticks = self.reload + (1 if self.mode in {4, 5} else 0)
            if passed >= ticks:
                return None
        return self.start + ticks_to_ns(ticks)

    def set_mode(self, control: int) -> None:
        """A control word for this channel (not the latch command)."""
        self.access = control >> 4 & 3
        mode = control >> 1 & 7
        self.mode = mode & 3 if mode > 5 else mode
        self.bcd = bool(control & 1)
        self.running = False
        self._high_next_write = self._high_next_read = False
        self._count_latch = []
        self._status_latch = None
        self._null_count = True

    def load(self, value: int) -> None:
        """A byte of the initial count, in the order that the control word chose."""
        if self.access == BOTH and not self._high_next_write:
            self._pending_low = value
            self._high_next_write = True
            if self.mode == 0:
                self.running = False  # "Writing the first byte disables counting"
            return
        if self.access == BOTH:
            count = value << 8 | self._pending_low
            self._high_next_write = False
        else:
            count = value << 8 if self.access == HIGH else value
        if self.bcd:
            count = int(f"{count:04x}") if all(c in "0123456789" for c in f"{count:04x}") else 0
            self.reload = count or 10_000
        else:
            self.reload = count or 0x10000
        if self.mode in {2, 3} and self.reload == 1:
            self.reload = 0x10000  # a count of 1 is illegal there; the element then wraps
        self._null_count = False
        self.start = self._now()
        self._frozen = 0
        self.running = self.mode not in {1, 5}

    def set_gate(self, level: bool) -> None:
        """The GATE pin: modes 0 and 4 pause, 2 and 3 restart on the rise, 1 and 5 trigger on it."""
        if level == self.gate:
            return
        passed = self.elapsed()
        self.gate = level
        if not level:
            self._frozen = passed
        elif self.mode in {0, 4}:
            self.start = self._now() - ticks_to_ns(self._frozen)
        elif not self._null_count:
            self.start = self._now()
            self.running = True

    def latch_count(self) -> None:
        """Counter latch command; a second one before the first was read is ignored."""
        if not self._count_latch:
            self._count_latch = self._bytes(self.count())
            self._high_next_read = False

    def latch_status(self) -> None:
        """Read-back command for the status byte."""
        if self._status_latch is None:
            self._status_latch = self.output() << 7 | self._null_count << 6 | self.access << 4 | self.mode << 1 | self.bcd

    def _bytes(self, count: int) -> list[int]:
        if self.bcd:
            count = int(str(count), 16)
        low, high = count & 0xFF, count >> 8 & 0xFF
        return {LOW: [low], HIGH: [high]}.get(self.access, [low, high])

    def read(self) -> int:
        """Status if latched, then the latched count, then the running count."""
        if self._status_latch is not None:
            status, self._status_latch = self._status_latch, None
            return status
        if self._count_latch:
            return self._count_latch.pop(0)
        count = self.count()
        if self.bcd:
            count = int(str(count), 16)
        if self.access == BOTH:
            self._high_next_read = not self._high_next_read
            return count & 0xFF if self._high_next_read else count >> 8 & 0xFF
        return count >> 8 & 0xFF if self.access == HIGH else count & 0xFF


class Pit:
    """Ports 0x40 to 0x43. `irq0(level)` is OUT of channel 0."""

    def __init__(self, clock: Clock, now: Callable[[], int], irq0: Callable[[bool], None]) -> None:
        self._clock = clock
        self._irq0 = irq0
        self.channels = (Channel(now), Channel(now), Channel(now))
        self.channels[2].gate = False
        irq0(True)
        self._event: Event | None = None

    def read(self, offset: int, size: int) -> int:
        """A count or status byte; the control register is not readable."""
        return self.channels[offset].read() if offset < 3 else 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        """A count byte or a control word."""
        value &= 0xFF
        if offset < 3:
            self.channels[offset].load(value)
            if offset == 0:
                self._plan()
        elif value >> 6 == 3:
            self._read_back(value)
        elif value & 0x30 == 0:
            self.channels[value >> 6].latch_count()
        else:
            self.channels[value >> 6].set_mode(value)
            if value >> 6 == 0:
                self._irq0(self.channels[0].output())
                self._plan()

    def _read_back(self, value: int) -> None:
        for index, channel in enumerate(self.channels):
            if value & 2 << index:
                if not value & 0x20:
                    channel.latch_count()
                if not value & 0x10:
                    channel.latch_status()

    def _plan(self) -> None:
        if self._event is not None:
            self._clock.cancel(self._event)
        when = self.channels[0].next_rise()
        self._event = None if when is None else self._clock.at(when, self._rise)

    def _rise(self) -> None:
        self._irq0(False)
        self._irq0(True)
        self._plan()


class Port61:
    """System control port B: gate and output of channel 2, the refresh toggle. Parity and channel check never fail."""

    def __init__(self, pit: Pit | None, now: Callable[[], int]) -> None:
        self._pit = pit
        self._now = now
        self._control = 0

    def read(self, offset: int, size: int) -> int:
        """Bits 0 to 3 as written, bit 4 toggles with every refresh, bit 5 is OUT of channel 2."""
        value = self._control | (self._now() // REFRESH_NS & 1) << 4
        if self._pit is not None and self._pit.channels[2].output():
            value |= 0x20
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Bit 0 gates channel 2, bit 1 would connect it to the speaker, which is not there."""
        self._control = value & 0x0F
        if self._pit is not None:
            self._pit.channels[2].set_gate(bool(value & 1))
