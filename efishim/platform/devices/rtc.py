"""The MC146818 real-time clock and its CMOS RAM at ports 0x70 and 0x71.

Source: Motorola MC146818 datasheet (ADI-1018), "Update cycle" and the register descriptions; century at 0x32 as the
FADT says. Time comes from the run's epoch and the virtual clock; nothing happens between accesses unless the guest
enabled an interrupt.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from efishim.machine.clock import Clock, Event

NS = 1_000_000_000
UPDATE_NS = 244_000
"""Update-in-progress is set this long before the second changes (tBUC); the change itself takes no time here."""

REG_A, REG_B, REG_C, REG_D = 0x0A, 0x0B, 0x0C, 0x0D
CENTURY = 0x32
UIP = 0x80
SET, PIE, AIE, UIE, BINARY, HOUR24 = 0x80, 0x40, 0x20, 0x10, 0x04, 0x02
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
VALID_RAM = 0x80
ANY = 0xC0
"""Two top bits set in an alarm byte: every value matches."""
PM = 0x80

_TIME = (0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, CENTURY)
_ALARM = (0x01, 0x03, 0x05)
_CHECKSUM = 0x2E


def to_bcd(value: int) -> int:
    """Two decimal digits in two nibbles."""
    return value // 10 << 4 | value % 10


def from_bcd(value: int) -> int:
    """The number that two nibbles spell."""
    return (value >> 4) * 10 + (value & 0x0F)


class Rtc:
    """`epoch` is the time of the virtual clock's zero, in seconds since 1970 (UTC, which the clock chip keeps too).

    `irq(level)` is IRQ 8. `ram` are the bytes of RAM below and above 4 GiB, told where a PC's firmware leaves them.
    """

    def __init__(
        self,
        clock: Clock,
        now: Callable[[], int],
        irq: Callable[[bool], None],
        epoch: int,
        ram: tuple[int, int],
    ) -> None:
        self._clock = clock
        self._now = now
        self._irq = irq
        self._index = 0
        self._base = epoch * NS
        """Nanoseconds since 1970 at the virtual clock's zero."""
        self._stopped_at: int | None = None
        """Time at which SET or the divider stopped the count."""
        self._regs = bytearray(128)
        self._regs[REG_A] = 0x26  # 32.768 kHz time base, 1024 Hz periodic rate
        self._regs[REG_B] = HOUR24
        self._fill_memory_sizes(*ram)
        self._flags = 0
        self._synced = epoch * NS
        self._event: Event | None = None
        self._show(epoch)

    def _fill_memory_sizes(self, low_ram: int, high_ram: int) -> None:
        """Base memory 0x15, extended 0x17 and 0x30 (KiB), above 16 MiB 0x34 (64 KiB), above 4 GiB 0x5b (64 KiB)."""
        extended = min((low_ram - (1 << 20)) >> 10, 0xFFFF)
        above_16m = max(0, low_ram - (16 << 20)) >> 16
        for at, size, value in (
            (0x15, 2, 640),
            (0x17, 2, extended),
            (0x30, 2, extended),
            (0x34, 2, min(above_16m, 0xFFFF)),
            (0x5B, 3, high_ram >> 16),
        ):
            self._regs[at : at + size] = value.to_bytes(size, "little")
        checksum = sum(self._regs[0x10:_CHECKSUM])
        self._regs[_CHECKSUM : _CHECKSUM + 2] = checksum.to_bytes(2, "big")

    # Time

    def unix_ns(self) -> int:
        """The time that the chip keeps, nanoseconds since 1970."""
        return self._stopped_at if self._stopped_at is not None else self._base + self._now()

    def set_unix_ns(self, value: int) -> None:
        """Set the time (firmware's SetTime)."""
        if self._stopped_at is not None:
            self._stopped_at = value
        else:
            self._sync()
            self._base = value - self._now()
            self._synced = self.unix_ns()
        self._show(value // NS)
        self._plan()

    def _encode(self, value: int) -> int:
        return value if self._regs[REG_B] & BINARY else to_bcd(value)

    def _decode(self, value: int) -> int:
        return value if self._regs[REG_B] & BINARY else from_bcd(value)

    def _decode_hour(self, raw: int) -> int:
        if self._regs[REG_B] & HOUR24:
            return self._decode(raw)
        return self._decode(raw & ~PM) % 12 + (12 if raw & PM else 0)

    def _show(self, seconds: int) -> None:
        """Put a time into the time registers."""
        moment = datetime.fromtimestamp(max(0, min(seconds, 253_402_300_799)), UTC)
        hour = self._encode(moment.hour)
        if not self._regs[REG_B] & HOUR24:
            hour = self._encode((moment.hour + 11) % 12 + 1) | (PM if moment.hour >= 12 else 0)
        values = (
            self._encode(moment.second),
            self._encode(moment.minute),
            hour,
            self._encode(moment.isoweekday() % 7 + 1),
            self._encode(moment.day),
            self._encode(moment.month),
            self._encode(moment.year % 100),
            to_bcd(moment.year // 100),
        )
        for register, value in zip(_TIME, values, strict=True):
            self._regs[register] = value

    def _shown(self) -> int | None:
        """The time in the time registers in seconds since 1970; None when they hold no date."""
        regs = self._regs
        year = from_bcd(regs[CENTURY]) * 100 + self._decode(regs[9])
        try:
            moment = datetime(
                year,
                self._decode(regs[8]),
                self._decode(regs[7]),
                self._decode_hour(regs[4]),
                self._decode(regs[2]),
                self._decode(regs[0]),
                tzinfo=UTC,
            )
        except ValueError:
            return None
        return int(moment.timestamp())

    def _held(self) -> bool:
        """Do SET or a held divider (DV 11x) stop the count?"""
        return bool(self._regs[REG_B] & SET) or self._regs[REG_A] & 0x60 == 0x60

    def _hold_or_release(self, fraction: int) -> None:
        """After REG_A or REG_B changed: freeze the registers, or go on from what they say now."""
        if self._held():
            if self._stopped_at is None:
                self._stopped_at = self._base + self._now()
                self._show(self._stopped_at // NS)
        elif self._stopped_at is not None:
            shown = self._shown()
            start = self._stopped_at if shown is None else shown * NS + fraction
            self._stopped_at = None
            self._base = start - self._now()
            self._synced = start

    # Interrupts

    def _period(self) -> int:
        """Nanoseconds of the periodic rate, 0 for none. Rates 1 and 2 are those of 8 and 9 with this time base."""
        rate = self._regs[REG_A] & 0x0F
        if rate == 0:
            return 0
        rate += 7 if rate <= 2 else 0
        return (NS << (rate - 1)) // 32768

    def _next_alarm(self, after: int) -> int:
        """The first second after `after` (both since 1970) at which the alarm bytes match; at most a day later."""
        wanted = [self._regs[register] for register in _ALARM]
        second = None if wanted[0] >= ANY else self._decode(wanted[0])
        minute = None if wanted[1] >= ANY else self._decode(wanted[1])
        hour = None if wanted[2] >= ANY else self._decode_hour(wanted[2])
        moment = after + 1
        for _ in range(24 + 60 + 60 + 1):
            if hour is not None and moment // 3600 % 24 != hour:
                moment += 3600 - moment % 3600
            elif minute is not None and moment // 60 % 60 != minute:
                moment += 60 - moment % 60
            elif second is not None and moment % 60 != second:
                moment += 1
            else:
                return moment
        return after + (1 << 40)  # bytes that no time matches

    def _sync(self) -> None:
        """Set the flags for everything that happened since the last look."""
        time = self.unix_ns()
        before, self._synced = self._synced, time
        if self._stopped_at is not None:
            return
        if time // NS > before // NS:
            self._flags |= UF
            if not self._flags & AF and self._next_alarm(before // NS) <= time // NS:
                self._flags |= AF
        period = self._period()
        if period and time // period > before // period:
            self._flags |= PF
        self._drive()

    def _drive(self) -> None:
        if self._flags & self._regs[REG_B] & (PF | AF | UF):
            if not self._flags & IRQF:
                self._flags |= IRQF
                self._irq(True)
        elif self._flags & IRQF:
            self._flags &= ~IRQF
            self._irq(False)

    def _plan(self) -> None:
        """Ask the clock for the next moment at which an enabled interrupt becomes due."""
        if self._event is not None:
            self._clock.cancel(self._event)
            self._event = None
        enabled = self._regs[REG_B] & (PIE | AIE | UIE)
        if not enabled or self._stopped_at is not None or self._flags & IRQF:
            return
        time = self.unix_ns()
        due = []
        period = self._period()
        if enabled & PIE and period:
            due.append((time // period + 1) * period)
        if enabled & UIE:
            due.append((time // NS + 1) * NS)
        if enabled & AIE:
            due.append(self._next_alarm(time // NS) * NS)
        if due:
            self._event = self._clock.at(min(due) - self._base, self._happen)

    def _happen(self) -> None:
        self._event = None
        self._sync()
        self._plan()

    # Ports

    def read(self, offset: int, size: int) -> int:
        """Port 0x71 gives the selected byte; port 0x70 is not readable on a PC."""
        if offset == 0:
            return 0xFF
        index = self._index
        if index == REG_A:
            running = self._stopped_at is None
            return self._regs[REG_A] | (UIP if running and -self.unix_ns() % NS <= UPDATE_NS else 0)
        if index == REG_C:
            self._sync()
            flags, self._flags = self._flags, 0
            if flags & IRQF:
                self._irq(False)
            self._plan()
            return flags
        if index == REG_D:
            return VALID_RAM
        if index in _TIME and self._stopped_at is None:
            self._show(self.unix_ns() // NS)
        return self._regs[index]

    def write(self, offset: int, size: int, value: int) -> None:
        """Port 0x70 selects a byte (bit 7 masks NMI, of which there is none), port 0x71 stores into it."""
        value &= 0xFF
        if offset == 0:
            self._index = value & 0x7F
            return
        index = self._index
        if index in {REG_C, REG_D}:
            return
        self._sync()
        if index == REG_A:
            released = self._regs[REG_A] & 0x60 == 0x60 and value & 0x60 != 0x60
            self._regs[REG_A] = value & 0x7F
            # The first update comes half a second after the divider is let go.
            self._hold_or_release(NS // 2 if released else 0)
        elif index == REG_B:
            if self._stopped_at is None:
                self._show(self.unix_ns() // NS)
            if value & SET:
                value &= ~UIE
            shown = self._shown() if (value ^ self._regs[REG_B]) & (BINARY | HOUR24) else None
            self._regs[REG_B] = value
            if shown is not None and self._stopped_at is None:
                self._show(shown)
            self._hold_or_release(self.unix_ns() % NS)
        elif index in _TIME:
            if self._stopped_at is None:
                self._show(self.unix_ns() // NS)
            self._regs[index] = value
            shown = self._shown()
            if self._stopped_at is None and shown is not None:
                self._base = shown * NS + self.unix_ns() % NS - self._now()
                self._synced = self.unix_ns()
        else:
            self._regs[index] = value
        self._drive()
        self._plan()
