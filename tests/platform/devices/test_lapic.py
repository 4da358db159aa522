"""Local APIC: reset values, priorities and timer as the SDM describes them (volume 3A, chapter on the APIC)."""

from __future__ import annotations

import pytest

from efishim.platform.devices import lapic as regs
from efishim.platform.devices.lapic import LocalApic
from tests.platform.fakes import NS, FakeBoard

HZ = 1_000_000_000


class Apic:
    """A local APIC on a board, software-enabled with spurious vector 0xff."""

    def __init__(self, *, enable: bool = True) -> None:
        self.board = FakeBoard()
        self.eois: list[int] = []
        self.chip = LocalApic(self.board.clock, self.board.now, HZ, self.board.interrupt_changed, self.eois.append)
        if enable:
            self.write(regs.SVR, 0x1FF)

    def read(self, offset: int) -> int:
        return self.chip.read(offset, 4)

    def write(self, offset: int, value: int) -> None:
        self.chip.write(offset, 4, value)

    def eoi(self) -> None:
        self.write(regs.EOI, 0)


@pytest.fixture
def apic() -> Apic:
    return Apic()


def test_state_after_reset() -> None:
    """SDM 11.4.7.1."""
    apic = Apic(enable=False)
    assert apic.read(regs.SVR) == 0xFF
    assert apic.read(regs.DFR) == 0xFFFF_FFFF
    assert [apic.read(lvt) for lvt in (0x320, 0x330, 0x340, 0x350, 0x360, 0x370)] == [0x10000] * 6
    assert apic.read(0x30) & 0xFF == 0x14
    assert apic.read(0x30) >> 16 & 0xFF == 5
    for zero in (0x20, regs.TPR, regs.PPR, regs.LDR, regs.ESR, regs.ICR_LOW, regs.ICR_HIGH, regs.INITIAL_COUNT):
        assert apic.read(zero) == 0


def test_nothing_is_accepted_while_software_disabled() -> None:
    apic = Apic(enable=False)
    apic.chip.accept(0x40)
    assert apic.chip.vector == -1
    apic.write(regs.LVT_TIMER, 0x40)
    assert apic.read(regs.LVT_TIMER) == 0x10040, "the mask cannot be cleared"


def test_software_disable_masks_the_lvt(apic: Apic) -> None:
    apic.write(regs.LVT_LINT0, 0x700)
    assert apic.chip.passes_extint
    apic.write(regs.SVR, 0xFF)
    assert apic.read(regs.LVT_LINT0) == 0x10700
    assert not apic.chip.passes_extint


def test_priority_classes(apic: Apic) -> None:
    apic.chip.accept(0x41)
    apic.chip.accept(0x61)
    assert apic.chip.acknowledge() == 0x61
    assert apic.chip.vector == -1, "0x41 is below the class in service"
    apic.chip.accept(0x6F)
    assert apic.chip.vector == -1, "the same class does not interrupt"
    assert apic.read(regs.PPR) == 0x60
    apic.chip.accept(0x70)
    assert apic.chip.acknowledge() == 0x70
    apic.eoi()
    apic.eoi()
    assert [apic.chip.acknowledge(), apic.chip.vector] == [0x6F, -1]
    apic.eoi()
    assert apic.chip.acknowledge() == 0x41


def test_task_priority(apic: Apic) -> None:
    apic.write(regs.TPR, 0x50)
    apic.chip.accept(0x5F)
    assert apic.chip.vector == -1
    assert apic.read(regs.PPR) == 0x50
    apic.write(regs.TPR, 0x4F)
    assert apic.chip.vector == 0x5F


def test_requests_show_in_their_registers(apic: Apic) -> None:
    apic.chip.accept(0x31)
    assert apic.read(0x210) == 1 << 0x11
    apic.chip.acknowledge()
    assert apic.read(0x210) == 0
    assert apic.read(0x110) == 1 << 0x11
    apic.chip.accept(0x9F, level=True)
    assert apic.read(0x1C0) == 1 << 31


def test_spurious_vector_when_the_request_is_gone(apic: Apic) -> None:
    assert apic.chip.acknowledge() == 0xFF
    assert apic.read(0x170) == 0, "no ISR bit for it"


def test_eoi_broadcast_for_level_triggered_only(apic: Apic) -> None:
    apic.chip.accept(0x50, level=True)
    apic.chip.acknowledge()
    apic.eoi()
    apic.chip.accept(0x51)
    apic.chip.acknowledge()
    apic.eoi()
    apic.eoi()
    assert apic.eois == [0x50]


def test_one_shot_timer(apic: Apic) -> None:
    apic.write(regs.DIVIDE, 0x03)  # by 16
    apic.write(regs.LVT_TIMER, 0xEC)
    apic.write(regs.INITIAL_COUNT, 1000)  # 16 us
    apic.board.advance(4000)
    assert apic.read(regs.CURRENT_COUNT) == 750
    apic.board.advance(11_999)
    assert apic.chip.vector == -1
    apic.board.advance(1)
    assert apic.chip.acknowledge() == 0xEC
    assert apic.read(regs.CURRENT_COUNT) == 0
    apic.eoi()
    apic.board.advance(NS)
    assert apic.chip.vector == -1


def test_periodic_timer_does_not_drift(apic: Apic) -> None:
    apic.write(regs.DIVIDE, 0x0B)  # by 1
    apic.write(regs.LVT_TIMER, 0x200EC)
    apic.write(regs.INITIAL_COUNT, 4_000_000)
    count = 0
    for _ in range(1000):
        apic.board.advance(1_000_000)
        if apic.chip.vector == 0xEC:
            apic.chip.acknowledge()
            apic.eoi()
            count += 1
    assert count == 250
    assert apic.read(regs.CURRENT_COUNT) == 4_000_000


@pytest.mark.parametrize(
    ("code", "divisor"), [(0x0, 2), (0x1, 4), (0x2, 8), (0x3, 16), (0x8, 32), (0x9, 64), (0xA, 128), (0xB, 1)]
)
def test_divide_configuration(apic: Apic, code: int, divisor: int) -> None:
    """SDM figure 11-10."""
    apic.write(regs.DIVIDE, code)
    assert apic.read(regs.DIVIDE) == code
    apic.write(regs.INITIAL_COUNT, 1_000_000)
    apic.board.advance(128_000)
    assert apic.read(regs.CURRENT_COUNT) == 1_000_000 - 128_000 // divisor


def test_masked_timer_counts_in_silence(apic: Apic) -> None:
    apic.write(regs.LVT_TIMER, 0x100EC)
    apic.write(regs.INITIAL_COUNT, 1000)  # by 2 after reset
    apic.board.advance(500)
    assert apic.read(regs.CURRENT_COUNT) == 750
    assert apic.board.clock.next_deadline() is None, "nobody waits for a masked timer"
    apic.write(regs.LVT_TIMER, 0xEC)
    apic.board.advance(1500)
    assert apic.chip.vector == 0xEC, "unmasked before its end, it is heard"


def test_writing_zero_stops_the_timer(apic: Apic) -> None:
    apic.write(regs.LVT_TIMER, 0xEC)
    apic.write(regs.INITIAL_COUNT, 1000)
    apic.write(regs.INITIAL_COUNT, 0)
    apic.board.advance(NS)
    assert apic.chip.vector == -1
    assert apic.board.clock.next_deadline() is None


@pytest.mark.parametrize(
    ("high", "low", "arrives"),
    [
        (0, 0x40000 | 0xF6, True),  # self
        (0, 0x80000 | 0xF6, True),  # all including self
        (0, 0xC0000 | 0xF6, False),  # all but self
        (0, 0xF6, True),  # physical 0
        (1 << 24, 0xF6, False),  # physical 1: nobody
        (0xFF << 24, 0xF6, True),  # physical broadcast
        (1 << 24, 0x800 | 0xF6, True),  # logical, flat
        (2 << 24, 0x800 | 0xF6, False),
    ],
)
def test_interprocessor_interrupts(apic: Apic, high: int, low: int, arrives: bool) -> None:
    apic.write(regs.LDR, 1 << 24)
    apic.write(regs.ICR_HIGH, high)
    apic.write(regs.ICR_LOW, low)
    assert (apic.chip.vector == 0xF6) is arrives
    assert not apic.read(regs.ICR_LOW) & 1 << 12, "delivery status is idle at once"


@pytest.mark.parametrize(("high", "low", "arrives"), [(0, 0x40400, 1), (0, 0x400, 1), (1 << 24, 0x400, 0), (0, 0xC0400, 0)])
def test_nmi_by_message(apic: Apic, high: int, low: int, arrives: int) -> None:
    """SDM 11.6.1, delivery mode 100: the vector is ignored, and nothing goes through IRR."""
    heard: list[bool] = []
    apic.chip.on_nmi = lambda: heard.append(True)
    apic.write(regs.ICR_HIGH, high)
    apic.write(regs.ICR_LOW, low)
    assert (len(heard), apic.chip.vector, apic.chip.irr) == (arrives, -1, 0)


def test_cluster_addressing(apic: Apic) -> None:
    apic.write(regs.DFR, 0x0FFF_FFFF)
    apic.write(regs.LDR, 0x21 << 24)
    assert apic.chip.addressed(0x23, logical=True)
    assert not apic.chip.addressed(0x22, logical=True)
    assert not apic.chip.addressed(0x11, logical=True)


def test_errors_show_after_a_write_to_esr(apic: Apic) -> None:
    apic.write(regs.LVT_ERROR, 0xFE)
    apic.write(regs.ICR_LOW, 0x40000 | 0x05)
    assert apic.read(regs.ESR) == 0
    apic.write(regs.ESR, 0)
    assert apic.read(regs.ESR) == 1 << 5, "send illegal vector"
    assert apic.chip.acknowledge() == 0xFE
    apic.write(regs.ESR, 0)
    assert apic.read(regs.ESR) == 0
    apic.read(0x40)
    apic.write(regs.ESR, 0)
    assert apic.read(regs.ESR) == 1 << 7, "illegal register"


def test_base_msr() -> None:
    apic = Apic()
    assert apic.chip.base_msr == 0xFEE0_0900
    assert not apic.chip.set_base_msr(0xFEE0_0D00), "there is no x2APIC"
    assert not apic.chip.set_base_msr(0xFED0_0900), "the page cannot move"
    assert not apic.chip.set_base_msr(1 << 45 | 0xFEE0_0900)
    assert apic.chip.set_base_msr(0xFEE0_0100)
    assert apic.read(regs.SVR) == 0xFFFF_FFFF, "switched off, nobody answers"
    assert apic.chip.passes_extint, "and the PIC is wired to INTR"
    assert apic.chip.set_base_msr(0xFEE0_0900)
    assert apic.read(regs.SVR) == 0xFF, "it comes back reset"


def test_only_aligned_32_bit_accesses(apic: Apic) -> None:
    assert apic.chip.read(regs.SVR + 4, 4) == 0
    assert apic.chip.read(regs.SVR, 1) == 0
    apic.chip.write(regs.TPR, 1, 0x50)
    assert apic.read(regs.TPR) == 0
