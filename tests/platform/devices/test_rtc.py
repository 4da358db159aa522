"""MC146818: the datasheet's registers, and the reads that Linux makes of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.platform.devices.rtc import Rtc
from tests.platform.fakes import NS, FakeBoard, Line

EPOCH = 1_460_000_000
"""Thursday, 2016-04-07 03:33:20 UTC (date -d @1460000000)."""
MS = 1_000_000


class Clock:
    """The chip on a board."""

    def __init__(self, epoch: int = EPOCH) -> None:
        self.board = FakeBoard()
        self.irq = Line()
        self.rtc = Rtc(self.board.clock, self.board.now, self.irq, epoch, (3 << 30, 1 << 30))
        self.board.ports.attach(0x70, 2, self.rtc, "CMOS")

    def read(self, register: int) -> int:
        self.board.outb(0x70, register)
        return self.board.inb(0x71)

    def write(self, register: int, value: int) -> None:
        self.board.outb(0x70, register)
        self.board.outb(0x71, value)

    def time(self) -> list[int]:
        """Century, year, month, day, weekday, hour, minute, second."""
        return [self.read(register) for register in (0x32, 9, 8, 7, 6, 4, 2, 0)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_date_of_the_epoch_in_bcd(clock: Clock) -> None:
    assert clock.time() == [0x20, 0x16, 0x04, 0x07, 5, 0x03, 0x33, 0x20]
    clock.board.advance(40 * NS)
    assert clock.time()[5:] == [0x03, 0x34, 0x00]


def test_status_registers(clock: Clock) -> None:
    assert clock.read(0x0A) & 0x7F == 0x26
    assert clock.read(0x0B) == 0x02
    assert clock.read(0x0D) == 0x80, "bit 7 set, bits 0 to 6 zero: cmos_do_probe() refuses anything else"


def test_binary_and_12_hour_modes(clock: Clock) -> None:
    clock.board.advance(12 * 3600 * NS)
    clock.write(0x0B, 0x06)
    assert clock.time() == [0x20, 16, 4, 7, 5, 15, 33, 20]
    clock.write(0x0B, 0x04)
    assert clock.read(4) == 0x80 | 3
    clock.write(0x0B, 0x00)
    clock.board.advance(9 * 3600 * NS)
    assert clock.read(4) == 0x12, "midnight is twelve"


def test_update_in_progress_comes_and_goes(clock: Clock) -> None:
    clock.board.advance(500 * MS)
    assert not clock.read(0x0A) & 0x80
    clock.board.advance(500 * MS - 200_000)
    assert clock.read(0x0A) & 0x80, "within 244 us of the change"
    assert clock.read(0) == 0x20
    clock.board.advance(200_001)
    assert not clock.read(0x0A) & 0x80
    assert clock.read(0) == 0x21


def test_setting_the_time_as_linux_does(clock: Clock) -> None:
    """mc146818_set_time(): SET, divider reset, registers, release."""
    clock.write(0x0B, 0x82)
    clock.write(0x0A, 0x76)
    for register, value in ((9, 0x25), (8, 0x12), (7, 0x31), (4, 0x23), (2, 0x59), (0, 0x58), (0x32, 0x20)):
        clock.write(register, value)
    clock.board.advance(10 * NS)
    assert clock.read(0) == 0x58, "stopped"
    assert not clock.read(0x0A) & 0x80
    clock.write(0x0B, 0x02)
    clock.write(0x0A, 0x26)
    assert clock.read(0) == 0x58
    clock.board.advance(499 * MS)
    assert clock.read(0) == 0x58
    clock.board.advance(2 * MS)
    assert clock.read(0) == 0x59, "the first update comes half a second after the divider starts"
    clock.board.advance(NS)
    assert clock.time() == [0x20, 0x26, 0x01, 0x01, 5, 0x00, 0x00, 0x00]


def test_an_impossible_date_is_ignored(clock: Clock) -> None:
    clock.write(0x0B, 0x82)
    clock.write(8, 0x02)
    clock.write(7, 0x31)
    clock.write(0x0B, 0x02)
    assert clock.time()[2:4] == [0x04, 0x07]


def test_alarm_interrupt(clock: Clock) -> None:
    for register, value in ((1, 0x30), (3, 0x33), (5, 0x03)):
        clock.write(register, value)
    clock.read(0x0C)
    clock.write(0x0B, 0x22)
    clock.board.advance(9 * NS)
    assert not clock.irq.level
    clock.board.advance(NS)
    assert clock.irq.level
    assert clock.read(0x0C) & 0xA0 == 0xA0
    assert not clock.irq.level
    clock.board.advance(24 * 3600 * NS - 1)
    assert not clock.irq.level
    clock.board.advance(1)
    assert clock.irq.level, "the same time next day"


def test_alarm_with_wildcards_comes_every_minute(clock: Clock) -> None:
    for register, value in ((1, 0x05), (3, 0xFF), (5, 0xC0)):
        clock.write(register, value)
    clock.write(0x0B, 0x22)
    times = []
    for _ in range(180):
        clock.board.advance(NS)
        if clock.irq.level:
            times.append(clock.read(0))
            clock.read(0x0C)
    assert times == [0x05, 0x05, 0x05]


def test_alarm_that_no_time_matches(clock: Clock) -> None:
    clock.write(1, 0x77)
    clock.write(3, 0xFF)
    clock.write(5, 0xFF)
    clock.write(0x0B, 0x22)
    clock.board.advance(90_000 * NS)
    assert not clock.irq.level


def test_update_ended_interrupt(clock: Clock) -> None:
    clock.write(0x0B, 0x12)
    clock.board.advance(NS)
    assert clock.irq.level
    assert clock.read(0x0C) & 0x90 == 0x90
    assert clock.read(0x0C) == 0, "reading clears the flags"
    clock.board.advance(NS)
    assert clock.irq.edges == 2


def test_periodic_interrupt_at_1024_hz(clock: Clock) -> None:
    clock.write(0x0B, 0x42)
    count = 0
    for _ in range(1000):
        clock.board.advance(MS)
        if clock.irq.level:
            clock.read(0x0C)
            count += 1
    assert count == pytest.approx(1000, abs=1), "asked every millisecond, it had been due each time"
    assert clock.irq.edges == count


def test_flags_without_enabled_interrupts_raise_no_line(clock: Clock) -> None:
    clock.board.advance(2 * NS)
    assert clock.read(0x0C) & 0x50 == 0x50
    assert clock.irq.edges == 0
    assert clock.board.clock.next_deadline() is None, "nothing is planned that nobody waits for"


def test_memory_sizes(clock: Clock) -> None:
    def word(register: int) -> int:
        return clock.read(register) | clock.read(register + 1) << 8

    assert word(0x15) == 640
    assert word(0x30) == 0xFFFF
    assert word(0x34) == ((3 << 30) - (16 << 20)) >> 16
    assert word(0x5B) | clock.read(0x5D) << 16 == (1 << 30) >> 16
    assert sum(clock.read(register) for register in range(0x10, 0x2E)) == clock.read(0x2E) << 8 | clock.read(0x2F)


def test_ram_keeps_what_is_written(clock: Clock) -> None:
    clock.write(0x0F, 0x0A)
    assert clock.read(0x0F) == 0x0A
    clock.write(0xFF, 0x77)  # bit 7 of the index is the NMI mask
    assert clock.read(0x7F) == 0x77
    assert clock.board.inb(0x70) == 0xFF


@given(st.integers(0, 4_102_444_799), st.booleans(), st.booleans())
def test_any_time_reads_back(epoch: int, binary: bool, full_day: bool) -> None:
    clock = Clock(epoch)
    clock.write(0x0B, binary << 2 | full_day << 1)
    century, year, month, day, weekday, hour, minute, second = clock.time()

    def plain(value: int) -> int:
        return value if binary else (value >> 4) * 10 + (value & 15)

    hour = plain(hour) if full_day else plain(hour & 0x7F) % 12 + (12 if hour & 0x80 else 0)
    full_year = ((century >> 4) * 10 + (century & 15)) * 100 + plain(year)
    read = datetime(full_year, plain(month), plain(day), hour, plain(minute), plain(second), tzinfo=UTC)
    assert read.timestamp() == epoch
    assert weekday == read.isoweekday() % 7 + 1


def test_setting_the_time_from_the_host(clock: Clock) -> None:
    clock.rtc.set_unix_ns(86_400 * NS)
    clock.board.advance(NS)
    assert clock.rtc.unix_ns() == 86_401 * NS
    assert clock.time() == [0x19, 0x70, 0x01, 0x02, 6, 0x00, 0x00, 0x01]
