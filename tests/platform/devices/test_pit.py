"""8254: expected values follow the mode definitions of the datasheet (Intel 231164)."""

from __future__ import annotations

import pytest

from efishim.platform.devices.pit import PIT_HZ, Pit, Port61
from tests.platform.fakes import NS, FakeBoard, Line


class Timer:
    """A PIT with port 0x61 on a board."""

    def __init__(self) -> None:
        self.board = FakeBoard()
        self.irq0 = Line()
        self.pit = Pit(self.board.clock, self.board.now, self.irq0)
        assert self.irq0.level, "OUT is high after firmware"
        self.irq0.edges = 0
        self.board.ports.attach(0x40, 4, self.pit, "PIT")
        self.board.ports.attach(0x61, 1, Port61(self.pit, self.board.now), "port 61")

    def program(self, channel: int, mode: int, count: int) -> None:
        self.board.outb(0x43, channel << 6 | 0x30 | mode << 1)
        self.board.outb(0x40 + channel, count & 0xFF)
        self.board.outb(0x40 + channel, count >> 8)

    def latched(self, channel: int) -> int:
        self.board.outb(0x43, channel << 6)
        low = self.board.inb(0x40 + channel)
        return low | self.board.inb(0x40 + channel) << 8

    def pass_ticks(self, ticks: int) -> None:
        """Move to the first moment at which `ticks` more periods are over."""
        self.board.advance(-(-ticks * NS // PIT_HZ))


@pytest.fixture
def timer() -> Timer:
    return Timer()


def test_rate_generator_interrupts_at_its_frequency(timer: Timer) -> None:
    timer.program(0, 2, 11932)  # HZ=100, as Linux's PIT_LATCH
    timer.board.advance(NS)
    assert timer.irq0.edges == PIT_HZ // 11932


def test_count_of_zero_means_65536(timer: Timer) -> None:
    timer.program(0, 2, 0)
    timer.board.advance(NS)
    assert timer.irq0.edges == 18, "18.2 interrupts a second, the PC's oldest number"


def test_mode_0_interrupts_once(timer: Timer) -> None:
    timer.program(0, 0, 1000)
    timer.pass_ticks(999)
    assert timer.irq0.edges == 0
    timer.pass_ticks(2)
    assert timer.irq0.edges == 1
    timer.board.advance(NS)
    assert timer.irq0.edges == 1


def test_mode_4_strobe(timer: Timer) -> None:
    timer.program(0, 4, 100)
    timer.pass_ticks(102)
    assert timer.irq0.edges == 1
    timer.board.advance(NS)
    assert timer.irq0.edges == 1


def test_a_new_mode_stops_the_old_one(timer: Timer) -> None:
    timer.program(0, 2, 100)
    timer.board.outb(0x43, 0x30)  # pit_shutdown(): mode 0, count 0 as two bytes
    assert not timer.irq0.level, "OUT is low after a mode 0 control word"
    timer.board.advance(NS)
    assert timer.irq0.edges == 0


def test_counter_counts_down_and_latches(timer: Timer) -> None:
    timer.program(0, 2, 10000)
    timer.pass_ticks(2500)
    assert timer.latched(0) == 7500
    timer.board.outb(0x43, 0x00)
    timer.pass_ticks(100)
    low = timer.board.inb(0x40)
    assert low | timer.board.inb(0x40) << 8 == 7500, "the latch holds while time passes"
    timer.pass_ticks(7400)
    assert timer.latched(0) == 10000, "after 10000 ticks it starts again"


def test_read_back_gives_status_then_count(timer: Timer) -> None:
    timer.program(0, 3, 1000)
    timer.pass_ticks(10)
    timer.board.outb(0x43, 0xC2)  # status and count of channel 0
    assert timer.board.inb(0x40) == 0x80 | 0x30 | 3 << 1, "OUT high, no null count, low then high, mode 3"
    low = timer.board.inb(0x40)
    assert low | timer.board.inb(0x40) << 8 == 980, "mode 3 counts by two"


def test_null_count_until_the_count_is_written(timer: Timer) -> None:
    timer.board.outb(0x43, 0x34)
    timer.board.outb(0x43, 0xE2)
    assert timer.board.inb(0x40) & 0x40


def test_square_wave_is_high_for_the_first_half(timer: Timer) -> None:
    timer.board.outb(0x61, 1)
    timer.program(2, 3, 1000)
    timer.pass_ticks(499)
    assert timer.board.inb(0x61) & 0x20
    timer.pass_ticks(2)
    assert not timer.board.inb(0x61) & 0x20
    timer.pass_ticks(500)
    assert timer.board.inb(0x61) & 0x20


def test_gate_of_channel_2(timer: Timer) -> None:
    timer.program(2, 0, 1000)
    timer.pass_ticks(5000)
    assert not timer.board.inb(0x61) & 0x20, "the gate is low: nothing counts"
    timer.board.outb(0x61, 1)
    timer.pass_ticks(400)
    timer.board.outb(0x61, 0)
    timer.pass_ticks(5000)
    assert timer.latched(2) == 600, "the gate holds the count"
    timer.board.outb(0x61, 1)
    timer.pass_ticks(601)
    assert timer.board.inb(0x61) & 0x20
    assert timer.board.inb(0x61) & 0x0F == 1


def test_refresh_bit_toggles(timer: Timer) -> None:
    seen = set()
    for _ in range(10):
        seen.add(timer.board.inb(0x61) & 0x10)
        timer.board.advance(15_085)
    assert seen == {0, 0x10}


def test_bcd_count(timer: Timer) -> None:
    timer.board.outb(0x43, 0x35)
    timer.board.outb(0x40, 0x00)
    timer.board.outb(0x40, 0x10)  # 1000
    timer.pass_ticks(1)
    assert timer.latched(0) == 0x0999


def test_single_byte_access(timer: Timer) -> None:
    timer.board.outb(0x43, 0x14)  # low byte only
    timer.board.outb(0x40, 200)
    timer.pass_ticks(50)
    assert timer.board.inb(0x40) == 150
    assert timer.board.inb(0x40) == 150


@pytest.mark.parametrize("tsc_hz", [1_000_000_000, 2_100_000_000])
def test_linux_quick_calibration_finds_the_frequency(timer: Timer, tsc_hz: int) -> None:
    """The procedure of arch/x86/kernel/tsc.c, quick_pit_calibrate(), against virtual time with 1 us port cycles."""
    board = timer.board
    board.port_access_ns = 1000

    def tsc() -> int:
        return board.now() * tsc_hz // NS

    def expect_msb(value: int) -> tuple[int, int, int]:
        count, before, last = 0, 0, tsc()
        while count < 50000:
            board.inb(0x42)
            if board.inb(0x42) != value:
                break
            before, last = last, tsc()
            count += 1
        return count, tsc(), tsc() - before

    board.outb(0x61, board.inb(0x61) & ~0x02 | 0x01)
    board.outb(0x43, 0xB0)
    board.outb(0x42, 0xFF)
    board.outb(0x42, 0xFF)
    board.inb(0x42)
    board.inb(0x42)
    loops, start, error1 = expect_msb(0xFF)
    assert loops > 5
    for step in range(1, 234):
        loops, now, error2 = expect_msb(0xFF - step)
        assert loops > 5
        if error1 + error2 < (now - start) >> 11:
            measured = (now - start) * PIT_HZ // (step * 256)
            assert measured == pytest.approx(tsc_hz, rel=500e-6)
            return
    pytest.fail("no calibration")
