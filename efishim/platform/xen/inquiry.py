"""Issues hypercalls from the host, for firmware that runs on the guest's behalf."""

from __future__ import annotations

import struct

from efishim.machine.cpu import Board, GuestFault
from efishim.machine.memory import PAGE
from efishim.platform.xen.guest import read_registers
from efishim.platform.xen.hypervisor import CPUID_BASE, SIGNATURE
from efishim.platform.xen.memory import E820_ENTRY
from efishim.wire import xen as abi

SCRATCH = 0x1000
_USED = ("rax", "rbx", "rcx", "rdi", "rsi")


def is_xen(board: Board) -> bool:
    """Does CPUID show Xen? Guests look where this looks (public/arch-x86/cpuid.h), without the step to other bases."""
    if board.cpuid is None or board.hypercall is None:
        return False
    _, ebx, ecx, edx = board.cpuid(CPUID_BASE, 0)
    return struct.pack("<III", ebx, ecx, edx) == SIGNATURE


def xen_memory_map(board: Board, scratch: int = SCRATCH) -> bytes | None:
    """XENMEM_memory_map: e820 entries of 20 bytes (address, size, type), or None where no Xen answers.

    The machine is on and the guest stopped, in whatever mode. `scratch` is the linear address of a writable page that the
    call needs; page and registers are what they were when it returns.
    """
    if not is_xen(board) or board.hypercall is None:
        return None
    cpu = board.cpu
    wide = read_registers(board).wide
    header = 16 if wide else 8
    room = (PAGE - header) // E820_ENTRY
    try:
        before = cpu.read(scratch, PAGE)
        cpu.write(scratch, struct.pack("<I4xQ" if wide else "<II", room, scratch + header))
    except GuestFault:
        return None
    saved = {name: cpu.get(name) for name in _USED}
    try:
        cpu.set("rax", abi.Call.MEMORY_OP)
        for name, value in zip(("rdi", "rsi") if wide else ("rbx", "rcx"), (abi.XENMEM_MEMORY_MAP, scratch), strict=True):
            cpu.set(name, value)
        board.hypercall()
        if cpu.get("rax"):
            return None
        count = int.from_bytes(cpu.read(scratch, 4), "little")
        return cpu.read(scratch + header, count * E820_ENTRY)
    finally:
        for name, value in saved.items():
            cpu.set(name, value)
        cpu.write(scratch, before)
