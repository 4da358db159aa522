"""ACPI fixed hardware: ACPI 6.5 section 4.8.3."""

from __future__ import annotations

import pytest

from efishim.platform.devices.acpi_hw import PM_BASE, AcpiPm, GeneralPurposeEvents, SleepRegisters
from tests.platform.fakes import NS, FakeBoard, Line

STATUS, ENABLE, CONTROL, TIMER = PM_BASE, PM_BASE + 2, PM_BASE + 4, PM_BASE + 8


class Pm:
    """The block on a board."""

    def __init__(self) -> None:
        self.board = FakeBoard()
        self.sci = Line()
        self.off: list[bool] = []
        chip = AcpiPm(self.board.clock, self.board.now, self.sci, lambda: self.off.append(True))
        self.board.ports.attach(PM_BASE, 12, chip, "ACPI")

    def read(self, port: int, size: int = 2) -> int:
        return self.board.ports.read(port, size)

    def write(self, port: int, value: int, size: int = 2) -> None:
        self.board.ports.write(port, size, value)


@pytest.fixture
def pm() -> Pm:
    return Pm()


def test_timer_runs_at_3579545_hz(pm: Pm) -> None:
    pm.board.advance(NS)
    assert pm.read(TIMER, 4) == 3_579_545
    pm.board.advance(1199 * NS)
    assert pm.read(TIMER, 4) == 3_579_545 * 1200 % (1 << 32), "32 bits, then from zero again"
    assert pm.read(TIMER + 2, 2) == pm.read(TIMER, 4) >> 16


def test_it_is_in_acpi_mode_and_stays_there(pm: Pm) -> None:
    assert pm.read(CONTROL) == 1
    pm.write(CONTROL, 0)
    assert pm.read(CONTROL) == 1, "without an SMI command port nobody could leave it"


def test_s5_powers_off(pm: Pm) -> None:
    pm.write(CONTROL, 5 << 10 | 1)
    assert not pm.off, "the type alone does nothing; ACPICA writes it first"
    pm.write(CONTROL, 5 << 10 | 1 << 13 | 1)
    assert pm.off == [True]
    assert not pm.read(CONTROL) & 1 << 13, "SLP_EN reads zero"


def test_other_sleep_types_do_nothing(pm: Pm) -> None:
    pm.write(CONTROL, 3 << 10 | 1 << 13)
    assert not pm.off


def test_byte_writes_reach_the_same_register(pm: Pm) -> None:
    pm.write(CONTROL + 1, 5 << 2 | 1 << 5, size=1)
    assert pm.off == [True]


def test_timer_status_and_sci(pm: Pm) -> None:
    half = (1 << 31) * NS // 3_579_545 + 1
    pm.write(ENABLE, 1)
    pm.board.advance(half - 2)
    assert not pm.sci.level
    pm.board.advance(2)
    assert pm.sci.level
    assert pm.read(STATUS) == 1
    pm.write(STATUS, 1)
    assert pm.read(STATUS) == 0
    assert not pm.sci.level
    pm.board.advance(half)
    assert pm.sci.level, "the next change of the top bit"


def test_enable_register_reads_back(pm: Pm) -> None:
    pm.write(ENABLE, 0x0120)
    assert pm.read(ENABLE) == 0x0120
    assert pm.read(STATUS, 4) == 0x0120_0000
    assert not pm.sci.level


def test_sleep_control_register() -> None:
    off: list[bool] = []
    registers = SleepRegisters(lambda: off.append(True))
    registers.write(0, 1, 5 << 2)
    registers.write(1, 1, 5 << 2 | 0x20)
    registers.write(0, 1, 4 << 2 | 0x20)
    assert not off
    registers.write(0, 1, 5 << 2 | 0x20)
    assert off == [True]
    assert registers.read(0, 1) == 0


def test_general_purpose_events_never_happen_and_can_be_enabled() -> None:
    block = GeneralPurposeEvents(4)
    block.write(0, 2, 0xFFFF)
    assert block.read(0, 2) == 0
    block.write(2, 2, 0x1234)
    assert (block.read(0, 4), block.read(3, 1)) == (0x1234_0000, 0x12)
    block.write(1, 2, 0x56FF)
    assert block.read(0, 4) == 0x1256_0000
