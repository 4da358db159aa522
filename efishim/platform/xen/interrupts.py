"""Interrupts of a Xen guest: hardware interrupts, and the event channel upcall.

Source: arch/x86/hvm/irq.c of Xen 4.17. With HVM_PARAM_CALLBACK_IRQ of type vector, the vector is injected as long as
`evtchn_upcall_pending` is set and interrupts are on; it comes before those of the local APIC and needs no EOI. With
HVMOP_set_evtchn_upcall_vector it is an ordinary interrupt of the local APIC.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.machine.cpu import Board
from efishim.platform.devices.interrupts import PcInterrupts


class XenInterrupts(PcInterrupts):
    """The platform's InterruptController with the upcall in front. `upcall_pending` reads the guest's vcpu_info."""

    def __init__(self, board: Board, timer_hz: int, *, with_pic: bool = False) -> None:
        super().__init__(board, timer_hz, with_pic=with_pic)
        self._notify = board.interrupt_changed
        self._armed = False
        self.upcall_pending: Callable[[], bool] = lambda: False
        self.callback_vector = 0
        self.apic_vector = 0

    def upcall(self) -> None:
        """`evtchn_upcall_pending` was raised, or a vector was set while it was."""
        if self.apic_vector:
            self.lapic.request(self.apic_vector)
        elif self.callback_vector:
            self._armed = True
            self._notify()

    def _upcall_due(self) -> bool:
        if self._armed and not (self.callback_vector and not self.apic_vector and self.upcall_pending()):
            self._armed = False  # the guest has seen it
        return self._armed

    def pending(self) -> bool:
        """Would a vector be delivered now?"""
        return self._upcall_due() or super().pending()

    def acknowledge(self) -> int:
        """Take a vector; the upcall stays pending until the guest clears its flag."""
        if self._upcall_due():
            return self.callback_vector
        return super().acknowledge()
