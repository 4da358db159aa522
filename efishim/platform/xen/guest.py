"""Guest state during a hypercall: registers, and memory at the linear addresses that the guest passes."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from efishim.machine.cpu import Board, GuestFault
from efishim.wire.xen import DOMID, DOMID_SELF, Errno, Refused

LARGEST_COPY = 1 << 16
_WIDE = ("rdi", "rsi", "rdx", "r10", "r8")
_NARROW = ("rbx", "rcx", "rdx", "rsi", "rdi")
LONG_MODE, CS_LONG = 1 << 10, 1 << 21


@dataclass(frozen=True, slots=True)
class Registers:
    """A hypercall as it arrives. `wide` says that the caller runs 64-bit code, and so which layout its structures have."""

    number: int
    arguments: tuple[int, ...]
    wide: bool


def read_registers(board: Board) -> Registers:
    """Number and arguments (arch/x86/hvm/hypercall.c): RDI, RSI, RDX, R10, R8, or EBX, ECX, EDX, ESI, EDI."""
    cpu = board.cpu
    wide = bool(cpu.get("efer") & LONG_MODE and cpu.get("cs.flags") & CS_LONG)
    if wide:
        return Registers(cpu.get("rax"), tuple(cpu.get(name) for name in _WIDE), True)
    mask = 0xFFFF_FFFF
    return Registers(cpu.get("rax") & mask, tuple(cpu.get(name) & mask for name in _NARROW), False)


class GuestCopy:
    """Structures in guest memory, by linear address. Every method raises Refused(EFAULT) where the guest maps nothing."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def read(self, address: int, size: int) -> bytes:
        """Bytes; no more than LARGEST_COPY."""
        if not 0 <= size <= LARGEST_COPY:
            raise Refused(Errno.EFAULT)
        try:
            return self._board.cpu.read(address, size)
        except GuestFault as fault:
            raise Refused(Errno.EFAULT) from fault

    def write(self, address: int, data: bytes) -> None:
        """Store bytes."""
        try:
            self._board.cpu.write(address, data)
        except GuestFault as fault:
            raise Refused(Errno.EFAULT) from fault

    def take(self, address: int, form: str) -> tuple[int, ...]:
        """A structure by its format (of the struct module, little-endian without padding of its own)."""
        return struct.unpack("<" + form, self.read(address, struct.calcsize("<" + form)))


def own(domid: int) -> None:
    """Raises Refused when a domain is not this one; a guest has no business with others."""
    if domid not in (DOMID, DOMID_SELF):
        raise Refused(Errno.ESRCH if domid < DOMID_SELF else Errno.EINVAL)
