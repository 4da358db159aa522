"""The HPET against the IA-PC HPET specification 1.0a, chapter 2."""

from __future__ import annotations

import pytest

from efishim.platform.devices.hpet import ACCESS_NS, HPET_BASE, HPET_SIZE, Hpet, LegacyLines
from tests.platform.fakes import FakeBoard, Line

CONFIG, STATUS, COUNTER = 0x10, 0x20, 0xF0
ENABLE, LEGACY = 1, 2
LEVEL, INTERRUPT, PERIODIC, SET_VALUE, NARROW = 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 8


class Bench:
    """A timer on a board, with the lines that it may drive."""

    def __init__(self) -> None:
        self.board = FakeBoard()
        self.lines = {irq: Line() for irq in (0, 1, 8)}
        self.legacy = LegacyLines(lambda irq: self.lines[irq])
        self.pit, self.rtc = self.legacy.device(0), self.legacy.device(8)
        self.inputs: list[tuple[int, bool]] = []
        self.hpet = Hpet(self.board, self.legacy, lambda pin, level: self.inputs.append((pin, level)))
        self.board.mmio.attach(HPET_BASE, HPET_SIZE, self.hpet, "HPET")

    def read(self, offset: int, size: int = 8) -> int:
        return self.board.mmio.read(HPET_BASE + offset, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        self.board.mmio.write(HPET_BASE + offset, size, value)

    def comparator(self, number: int, config: int, *values: int) -> None:
        self.write(0x100 + 0x20 * number, config)
        for value in values:
            self.write(0x108 + 0x20 * number, value, 8)


@pytest.fixture
def bench() -> Bench:
    """Nothing written yet."""
    return Bench()


def test_capabilities(bench: Bench) -> None:
    """100 MHz, Intel, legacy mode, 64 bits, three comparators, revision 1 (2.3.4)."""
    assert bench.read(0) == 0x0098_9680_8086_A201
    assert bench.read(4, 4) == 10_000_000
    assert bench.read(0, 1) == 1
    assert bench.read(0x104, 4) == 1 << 2, "input 2 of the I/O APIC"
    assert bench.read(0x100, 4) == 1 << 4 | 1 << 5, "periodic, 64 bits"
    assert bench.read(0x160) == 0, "there is no fourth"


def test_the_counter_runs_when_it_is_enabled(bench: Bench) -> None:
    bench.board.advance(5000)
    assert bench.read(COUNTER) == 0
    bench.write(COUNTER, 1000, 8)
    bench.write(CONFIG, ENABLE)
    bench.board.advance(1_000_000)
    first = bench.read(COUNTER)
    assert first == 1000 + (1_000_000 + ACCESS_NS) // 10
    bench.write(COUNTER, 7, 8)
    assert bench.read(COUNTER) > first, "it is read-only while it runs"
    bench.write(CONFIG, 0)
    stopped = bench.read(COUNTER)
    bench.board.advance(1000)
    assert bench.read(COUNTER) == stopped
    bench.write(COUNTER + 4, 3)
    assert bench.read(COUNTER) == 3 << 32 | stopped & 0xFFFF_FFFF


def test_an_access_takes_time(bench: Bench) -> None:
    before = bench.board.now()
    bench.read(COUNTER)
    bench.write(CONFIG, 0)
    assert bench.board.now() == before + 2 * ACCESS_NS


def test_one_shot(bench: Bench) -> None:
    bench.write(CONFIG, ENABLE | LEGACY)
    bench.comparator(0, INTERRUPT, bench.read(COUNTER) + 1000)
    bench.board.advance(7_000)
    assert bench.lines[0].edges == 0
    bench.board.advance(3_000)
    assert bench.lines[0].edges == 1
    bench.board.advance(10_000_000_000)
    assert bench.lines[0].edges == 1


def test_a_narrow_comparator_comes_round(bench: Bench) -> None:
    """With 32 bits the counter meets it each 2^32 ticks (2.3.9.2.1)."""
    bench.write(CONFIG, ENABLE | LEGACY)
    bench.comparator(1, INTERRUPT | NARROW, 1 << 40 | 500)
    assert bench.read(0x128) == 500
    bench.board.advance(42_000_000_000)
    assert bench.lines[8].edges == 1
    bench.board.advance(42_000_000_000)
    assert bench.lines[8].edges == 2


def test_periodic(bench: Bench) -> None:
    """VAL_SET: the next store is the first moment, the one behind it the period (2.3.9.2.2)."""
    bench.write(CONFIG, ENABLE | LEGACY)
    bench.comparator(0, INTERRUPT | PERIODIC | SET_VALUE, bench.read(COUNTER) + 90_000)
    assert bench.read(0x100, 4) & SET_VALUE == 0
    bench.write(0x108, 25_000)
    bench.board.advance(1_000_000)
    assert bench.lines[0].edges == 1
    bench.board.advance(1_000_000)
    assert bench.lines[0].edges == 5
    bench.write(CONFIG, LEGACY)
    bench.board.advance(10_000_000)
    assert bench.lines[0].edges == 5


def test_a_hostile_period_is_bounded(bench: Bench) -> None:
    bench.write(CONFIG, ENABLE | LEGACY)
    bench.comparator(0, INTERRUPT | PERIODIC | SET_VALUE, 1, 1)
    bench.board.advance(100_000)
    assert bench.lines[0].edges <= 100_000 // 100 + 10


def test_legacy_mode_takes_the_lines_of_timer_and_clock(bench: Bench) -> None:
    """Section 2.2.7. Everything else keeps its line."""
    bench.pit(True)
    bench.legacy.device(1)(True)
    assert bench.lines[0].level
    bench.write(CONFIG, LEGACY)
    assert not bench.lines[0].level
    assert bench.lines[1].level
    bench.rtc(True)
    assert not bench.lines[8].level
    bench.write(CONFIG, 0)
    assert bench.lines[0].level
    assert bench.lines[8].level


def test_routes_of_the_io_apic(bench: Bench) -> None:
    """Without legacy mode, and the third comparator always: to the input that is chosen, if it is one of those allowed."""
    bench.write(CONFIG, ENABLE)
    bench.comparator(0, INTERRUPT | 2 << 9, bench.read(COUNTER) + 1000)
    bench.comparator(2, INTERRUPT | 5 << 9, bench.read(COUNTER) + 1000)
    bench.board.advance(20_000)
    assert bench.inputs == [(2, True), (2, False)]
    assert bench.lines[0].edges == 0


def test_level_triggered(bench: Bench) -> None:
    """Its bit of the status register holds the line until it is written (2.3.6)."""
    bench.write(CONFIG, ENABLE)
    bench.comparator(2, INTERRUPT | LEVEL | 2 << 9, bench.read(COUNTER) + 1000)
    bench.board.advance(20_000)
    assert bench.read(STATUS) == 1 << 2
    assert bench.inputs[-1] == (2, True)
    bench.write(STATUS, 1 << 2)
    assert bench.read(STATUS) == 0
    assert bench.inputs[-1] == (2, False)


def test_narrow_stores_are_ignored(bench: Bench) -> None:
    bench.write(CONFIG, ENABLE, 1)
    bench.write(CONFIG, ENABLE, 2)
    assert bench.read(CONFIG) == 0
