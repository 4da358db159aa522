"""The processor state at the 32-bit and the 64-bit entry (boot.rst, "32-bit boot protocol" and "64-bit boot protocol")."""

from __future__ import annotations

from efishim.provider import CpuMode, CpuState, Segment

BOOT_CS, BOOT_DS = 0x10, 0x18
DATA = Segment(BOOT_DS, 0, 0xFFFF_FFFF, 0xC093)
CODE32 = Segment(BOOT_CS, 0, 0xFFFF_FFFF, 0xC09A)
CODE64 = Segment(BOOT_CS, 0, 0xFFFF_FFFF, 0xA09A)
FLAT_DATA = 0x00CF_9300_0000_FFFF
GDT32 = (0, 0, 0x00CF_9A00_0000_FFFF, FLAT_DATA)
GDT64 = (0, 0, 0x00AF_9A00_0000_FFFF, FLAT_DATA)
MAPPED = 4 << 30
"""Everything that a loader on a PC places is below 4 GiB."""
FLAGS = 0x46
"""Interrupts off; zero and parity set, as the last XOR of a loader leaves them."""


def protected(entry_point: int, boot_params: int, **registers: int) -> CpuState:
    """32-bit protected mode without paging: ESI points to boot_params, EBP, EDI and EBX are zero."""
    data = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA)
    return CpuState(
        CpuMode.PROTECTED,
        entry_point,
        {"rsi": boot_params, "eflags": FLAGS, **registers},
        {"cs": CODE32, **data},
        descriptors=GDT32,
    )


def long(entry_point: int, boot_params: int, **registers: int) -> CpuState:
    """64-bit mode with memory mapped one to one: RSI points to boot_params."""
    data = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA)
    return CpuState(
        CpuMode.LONG,
        entry_point,
        {"rsi": boot_params, "eflags": FLAGS, **registers},
        {"cs": CODE64, **data},
        identity_map=MAPPED,
        descriptors=GDT64,
    )
