"""I/O APIC (82093AA datasheet) and how PIC, I/O APIC and local APIC work together on a PC."""

from __future__ import annotations

import pytest

from efishim.platform.devices import lapic as regs
from efishim.platform.devices.interrupts import PcInterrupts
from tests.platform.devices.test_pic import linux_init
from tests.platform.fakes import FakeBoard


class Pc:
    """The composite on a board, the local APIC as Linux sets it up (flat logical ID 1)."""

    def __init__(self, *, with_pic: bool = True) -> None:
        self.board = FakeBoard()
        self.irqs = PcInterrupts(self.board, 1_000_000_000, with_pic=with_pic)
        self.apic(regs.SVR, 0x1FF)
        self.apic(regs.LDR, 1 << 24)

    def apic(self, offset: int, value: int) -> None:
        self.irqs.lapic.write(offset, 4, value)

    def io(self, register: int, value: int | None = None) -> int:
        self.irqs.ioapic.write(0, 4, register)
        if value is None:
            return self.irqs.ioapic.read(0x10, 4)
        self.irqs.ioapic.write(0x10, 4, value)
        return value

    def route(self, pin: int, low: int, destination: int = 1) -> None:
        self.io(0x11 + 2 * pin, destination << 24)
        self.io(0x10 + 2 * pin, low)

    def take(self) -> int | None:
        return self.irqs.acknowledge() if self.irqs.pending() else None

    def eoi(self) -> None:
        self.apic(regs.EOI, 0)


LOGICAL, LEVEL, MASKED, REMOTE_IRR = 1 << 11, 1 << 15, 1 << 16, 1 << 14


@pytest.fixture
def pc() -> Pc:
    return Pc()


def test_ioapic_identity_and_reset_state(pc: Pc) -> None:
    assert pc.io(1) == 0x0017_0011, "24 entries, version 0x11"
    assert [pc.io(0x10 + 2 * pin) for pin in range(24)] == [MASKED] * 24
    pc.io(0, 0x0F00_0000)
    assert pc.io(0) == 0x0F00_0000
    assert pc.io(2) == 0x0F00_0000, "the arbitration ID follows"
    assert pc.io(0x40) == 0, "behind the last entry there is nothing"


def test_edge_interrupt(pc: Pc) -> None:
    pc.route(4, LOGICAL | 0x34)
    pc.irqs.set_irq(4, True)
    assert pc.take() == 0x34
    pc.eoi()
    assert pc.take() is None, "the line is still high"
    pc.irqs.set_irq(4, False)
    pc.irqs.set_irq(4, True)
    assert pc.take() == 0x34


def test_a_masked_edge_is_lost(pc: Pc) -> None:
    pc.route(4, MASKED | LOGICAL | 0x34)
    pc.irqs.set_irq(4, True)
    pc.route(4, LOGICAL | 0x34)
    assert pc.take() is None


def test_level_interrupt_repeats_after_eoi_until_released(pc: Pc) -> None:
    pc.route(9, LOGICAL | LEVEL | 0x39)
    pc.irqs.set_irq(9, True)
    assert pc.take() == 0x39
    assert pc.io(0x10 + 18) & REMOTE_IRR
    pc.eoi()
    assert pc.take() == 0x39
    pc.irqs.set_irq(9, False)
    pc.eoi()
    assert pc.take() is None
    assert not pc.io(0x10 + 18) & REMOTE_IRR


def test_a_masked_level_waits(pc: Pc) -> None:
    pc.route(9, MASKED | LOGICAL | LEVEL | 0x39)
    pc.irqs.set_irq(9, True)
    assert pc.take() is None
    pc.route(9, LOGICAL | LEVEL | 0x39)
    assert pc.take() == 0x39


def test_remote_irr_is_read_only_and_edge_mode_clears_it(pc: Pc) -> None:
    pc.route(9, LOGICAL | LEVEL | 0x39)
    pc.irqs.set_irq(9, True)
    pc.io(0x10 + 18, MASKED | LOGICAL | LEVEL | 0x39)
    assert pc.io(0x10 + 18) & REMOTE_IRR
    pc.io(0x10 + 18, MASKED | LOGICAL | 0x39)  # __eoi_ioapic_pin() for version 0x11
    assert not pc.io(0x10 + 18) & REMOTE_IRR


def test_a_foreign_destination_gets_nothing(pc: Pc) -> None:
    pc.route(4, 0x34, destination=3)
    pc.irqs.set_irq(4, True)
    assert pc.take() is None


def test_the_timer_is_on_input_2(pc: Pc) -> None:
    pc.route(2, LOGICAL | 0x30)
    pc.irqs.set_irq(0, True)
    assert pc.take() == 0x30


def test_virtual_wire_mode_of_the_firmware() -> None:
    board = FakeBoard()
    irqs = PcInterrupts(board, 1_000_000_000)
    assert irqs.pic is not None
    linux_init(irqs.pic)
    irqs.set_irq(4, True)
    assert irqs.pending()
    assert irqs.acknowledge() == 0x34
    assert not irqs.pending()
    assert irqs.lapic.isr == 0, "an ExtINT leaves no trace in the local APIC"


def test_masking_lint0_cuts_the_pic_off(pc: Pc) -> None:
    assert pc.irqs.pic is not None
    linux_init(pc.irqs.pic)
    pc.irqs.set_irq(4, True)
    assert pc.irqs.pending()
    pc.apic(regs.LVT_LINT0, MASKED | 0x700)
    assert not pc.irqs.pending()
    pc.apic(regs.LVT_LINT0, 0x700)
    assert pc.irqs.pending()


def test_the_processor_hears_of_a_change(pc: Pc) -> None:
    pc.route(4, LOGICAL | 0x34)
    before = pc.board.changes
    pc.irqs.set_irq(4, True)
    assert pc.board.changes > before


def test_local_apic_goes_before_the_pic(pc: Pc) -> None:
    assert pc.irqs.pic is not None
    linux_init(pc.irqs.pic)
    pc.irqs.set_irq(3, True)
    pc.irqs.lapic.accept(0xEC)
    assert [pc.take(), pc.take(), pc.take()] == [0xEC, 0x33, None]


def test_a_machine_without_pic() -> None:
    pc = Pc(with_pic=False)
    pc.route(4, LOGICAL | 0x34)
    pc.irqs.set_irq(4, True)
    pc.irqs.set_irq(20, True)
    assert pc.take() == 0x34
    assert pc.irqs.acknowledge() == 0xFF
