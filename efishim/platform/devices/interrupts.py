"""Interrupt routing of a PC: ISA lines to the PICs and the I/O APIC, and from both to the processor."""

from __future__ import annotations

from collections.abc import Callable

from efishim.machine.cpu import Board
from efishim.platform.devices.ioapic import DISCRETE, IoApic
from efishim.platform.devices.lapic import LocalApic
from efishim.platform.devices.pic import PicPair

TIMER_GSI = 2
"""ISA IRQ 0 is wired to this input of the I/O APIC; the MADT tells the guest."""


class PcInterrupts:
    """The platform's InterruptController. `pending` is asked often, so it only looks at a flag.

    Without a PIC (`with_pic=False`) the ISA lines reach the I/O APIC alone.
    """

    def __init__(self, board: Board, timer_hz: int, *, with_pic: bool = True, ioapic_version: int = DISCRETE) -> None:
        self._board = board
        self._ready = False
        self.pic = PicPair(self._changed) if with_pic else None
        self.lapic = LocalApic(board.clock, board.now, timer_hz, self._changed, self._end_of_interrupt)
        self.lapic.on_nmi = board.non_maskable_interrupt
        self.ioapic = IoApic(self.lapic, ioapic_version)
        if with_pic:
            self.lapic.enter_virtual_wire_mode()

    def _end_of_interrupt(self, vector: int) -> None:
        self.ioapic.end_of_interrupt(vector)

    def _extint(self) -> bool:
        return self.pic is not None and self.pic.output and self.lapic.passes_extint

    def _changed(self) -> None:
        ready = self.lapic.vector >= 0 or self._extint()
        if ready != self._ready or ready:
            self._ready = ready
            self._board.interrupt_changed()

    def pending(self) -> bool:
        """Would a vector be delivered now?"""
        return self._ready

    def acknowledge(self) -> int:
        """Take a vector. The local APIC goes first, an ExtINT request has no priority there (SDM 11.8.3.1)."""
        if self.lapic.vector >= 0 or self.pic is None or not self._extint():
            return self.lapic.acknowledge()
        vector = self.pic.acknowledge()
        self._changed()
        return vector

    def set_irq(self, irq: int, level: bool) -> None:
        """Drive an ISA interrupt line (or, from 16 on, an input of the I/O APIC only)."""
        if self.pic is not None and irq < 16:
            self.pic.set_line(irq, level)
        self.ioapic.set_line(TIMER_GSI if irq == 0 else irq, level)

    def line(self, irq: int) -> Callable[[bool], None]:
        """One line as a function of its level, as devices take it."""

        def drive(level: bool) -> None:
            self.set_irq(irq, level)

        return drive
