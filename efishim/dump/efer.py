"""Derives IA32_EFER where a dump does not have it: QEMU's notes lack it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.x86 import (
    CR0_PG,
    CR4_LA57,
    CR4_PAE,
    DESCRIPTOR_L,
    EFER_LMA,
    EFER_LME,
    EFER_NXE,
    PTE_ADDRESS,
    PTE_NX,
    PTE_P,
    PTE_PS,
)

MAX_TABLES = 512
"""Page tables that are looked into."""
PAGE = 0x1000


def derive_efer(registers: Mapping[str, int], memory: PhysicalMemory, *, long_mode: bool | None = None) -> tuple[int, str]:
    """EFER and the sentence that says how it was found. `long_mode` is what the dump says otherwise about LMA."""
    paged = bool(registers["cr0"] & CR0_PG and registers["cr4"] & CR4_PAE)
    if long_mode is None:
        long_mode, source = paged and bool(registers["cs.flags"] & DESCRIPTOR_L), "CR0.PG, CR4.PAE and CS.L"
    else:
        long_mode, source = long_mode and paged, "CR0.PG and e_machine of the core"
    efer, found = (EFER_LME | EFER_LMA, "set") if long_mode else (0, "clear")
    words = f"EFER is not in the dump: LME and LMA are {found}, from {source}"
    long_levels = 5 if registers["cr4"] & CR4_LA57 else 4
    if paged and _has_no_execute(memory, registers["cr3"], levels=long_levels if long_mode else 3):
        return efer | EFER_NXE, f"{words}; NXE is set, as a page table entry has bit 63; SCE is taken as clear"
    return efer, f"{words}; NXE and SCE are taken as clear"


def _has_no_execute(memory: PhysicalMemory, cr3: int, *, levels: int) -> bool:
    """Is bit 63 set in a present entry? Without NXE that would be a reserved bit (SDM volume 3, section 4.5)."""
    waiting = [(cr3 & (PTE_ADDRESS if levels > 3 else 0xFFFF_FFE0), levels)]
    seen = {waiting[0][0]}
    for _ in range(MAX_TABLES):
        if not waiting:
            return False
        address, level = waiting.pop(0)
        count = 4 if level == 3 and levels == 3 else 512
        try:
            entries = struct.unpack(f"<{count}Q", memory.read(address, 8 * count))
        except BusError:
            continue
        for entry in entries:
            if not entry & PTE_P:
                continue
            if entry & PTE_NX:
                return True
            below = entry & PTE_ADDRESS
            if level > 1 and not (entry & PTE_PS and level < 4) and below not in seen:
                seen.add(below)
                waiting.append((below, level - 1))
    return False
