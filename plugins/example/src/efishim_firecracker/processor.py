"""The processor as Firecracker starts it (src/vmm/src/arch/x86_64/regs.rs)."""

from __future__ import annotations

import struct

from efishim.provider import CpuMode, CpuState, Segment
from efishim_firecracker.places import GDT, IDT, PDE, PDPTE, PML4, STACK, START_INFO, ZERO_PAGE

FLAT = 0xFFFF_FFFF
DATA = Segment(0x10, 0, FLAT, 0xC093)
LONG = {"cs": Segment(0x08, 0, FLAT, 0xA09B), "tr": Segment(0x18, 0, FLAT, 0x808B)}
PVH = {"cs": Segment(0x08, 0, FLAT, 0xC09B), "tr": Segment(0x18, 0, 0x67, 0x008B)}
TABLES = {"gdtr.base": GDT, "gdtr.limit": 0x1F, "idtr.base": IDT, "idtr.limit": 7}
LONG_GDT = struct.pack("<4Q", 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x008F_8B00_0000_FFFF)
PVH_GDT = struct.pack("<4Q", 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x0000_8B00_0000_0067)
RESET_CR0 = 0x6000_0010
"""What KVM has after reset: caches are off."""


def page_tables() -> dict[int, bytes]:
    """The first GiB, one to one in pages of 2 MiB: the tables by their addresses."""
    return {
        PML4: struct.pack("<Q", PDPTE | 3),
        PDPTE: struct.pack("<Q", PDE | 3),
        PDE: struct.pack("<512Q", *((number << 21) | 0x83 for number in range(512))),
    }


def long_mode(entry_point: int) -> CpuState:
    """For the 64-bit boot protocol."""
    data = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA)
    registers = {"rsi": ZERO_PAGE, "rsp": STACK, "rbp": STACK, "eflags": 2, "cr0": RESET_CR0 | 0x8000_0001, "cr3": PML4}
    return CpuState(CpuMode.LONG, entry_point, {**registers, **TABLES}, {**LONG, **data})


def protected_mode(entry_point: int) -> CpuState:
    """For PVH."""
    data = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA)
    return CpuState(CpuMode.PROTECTED, entry_point, {"rbx": START_INFO, "eflags": 2, **TABLES}, {**PVH, **data})
