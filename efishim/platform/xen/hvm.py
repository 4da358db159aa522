"""HYPERVISOR_hvm_op and HYPERVISOR_sched_op (public/hvm/, public/sched.h; arch/x86/hvm/hvm.c, common/sched/core.c)."""

from __future__ import annotations

from efishim.machine.cpu import Board
from efishim.platform.xen.guest import GuestCopy, own
from efishim.platform.xen.interrupts import XenInterrupts
from efishim.platform.xen.shared import SharedInfo
from efishim.wire import xen as abi
from efishim.wire.xen import Errno, Refused

LOWEST_VECTOR = 16
REASONS = {
    abi.SHUTDOWN_POWEROFF: "shutdown",
    abi.SHUTDOWN_REBOOT: "reset",
    abi.SHUTDOWN_SUSPEND: "shutdown for suspend",
    abi.SHUTDOWN_CRASH: "shutdown because the guest crashed",
    abi.SHUTDOWN_WATCHDOG: "reset by the watchdog",
    abi.SHUTDOWN_SOFT_RESET: "reset without new memory",
}
"""Why the run ends."""


class HvmOperations:
    """Parameters and upcall vectors. What is not in `params` reads as zero, which says that there is no such thing."""

    def __init__(self, shared: SharedInfo, interrupts: XenInterrupts, copy: GuestCopy) -> None:
        self._shared = shared
        self._interrupts = interrupts
        self._copy = copy
        self.params: dict[int, int] = {}

    def call(self, command: int, argument: int, wide: bool) -> int:
        """One operation. Raises Refused."""
        match command:
            case abi.HVMOP_GET_PARAM:
                index, _ = self._param(argument, abi.PARAMS_READABLE)
                self._copy.write(argument + 8, self.params.get(index, 0).to_bytes(8, "little"))
                return 0
            case abi.HVMOP_SET_PARAM:
                index, value = self._param(argument, abi.PARAMS_WRITABLE)
                self.params[index] = value
                if index == abi.PARAM_CALLBACK_IRQ:
                    self._set_callback(value, wide)
                return 0
            case abi.HVMOP_FLUSH_TLBS:
                if argument:
                    raise Refused(Errno.EINVAL)
                return 0
            case abi.HVMOP_SET_EVTCHN_UPCALL_VECTOR:
                vcpu, vector = self._copy.take(argument, "IB")
                if vector < LOWEST_VECTOR:
                    raise Refused(Errno.EINVAL)
                if vcpu:
                    raise Refused(Errno.ENOENT)
                self._interrupts.apic_vector = vector
                self._again()
                return 0
        # HVMOP_pagetable_dying too: only shadow paging has it.
        raise Refused(Errno.ENOSYS)

    def _param(self, argument: int, allowed: frozenset[int]) -> tuple[int, int]:
        domain, index, value = self._copy.take(argument, "H2xIQ")
        own(domain)
        if index >= abi.PARAMS or index in abi.PARAMS_DEPRECATED:
            raise Refused(Errno.EINVAL)
        if index not in allowed:
            raise Refused(Errno.EPERM)
        return index, value

    def _set_callback(self, value: int, wide: bool) -> None:
        """Only vectors are delivered: there is no PCI device, and lines of the I/O APIC belong to real ones."""
        self._shared.latch(wide)
        self._interrupts.callback_vector = value & 0xFF if value >> 56 == abi.CALLBACK_VECTOR else 0
        self._again()

    def _again(self) -> None:
        if self._shared.upcall_pending:
            self._interrupts.upcall()


def sched_call(board: Board, copy: GuestCopy, command: int, argument: int) -> int:
    """HYPERVISOR_sched_op. Raises Refused."""
    match command:
        case abi.SCHEDOP_YIELD:
            return 0
        case abi.SCHEDOP_BLOCK:
            board.wait_for_interrupt()
            return 0
        case abi.SCHEDOP_SHUTDOWN:
            reason = copy.take(argument, "I")[0] & 0xFF
            board.stop(REASONS.get(reason, f"shutdown with reason {reason}"))
            return 0
        case abi.SCHEDOP_SHUTDOWN_CODE:
            copy.take(argument, "I")
            return 0
    raise Refused(Errno.ENOSYS)
