"""EFER derived: LMA from the mode, NXE from a page table entry that would be invalid without it."""

from __future__ import annotations

import struct

from efishim.dump.efer import derive_efer
from efishim.machine.memory import PhysicalMemory
from efishim.wire.x86 import CR0_PE, CR0_PG, CR4_PAE, DESCRIPTOR_L, EFER_LMA, EFER_LME, EFER_NXE, PTE_NX, PTE_P, PTE_PS

LONG = {"cr0": CR0_PE | CR0_PG, "cr3": 0x1000, "cr4": CR4_PAE, "cs.flags": DESCRIPTOR_L}


def tables(*entries: int) -> PhysicalMemory:
    """Level 4, 3 and 2 with one entry each."""
    memory = PhysicalMemory()
    memory.add(0, 0x10000)
    for level, entry in enumerate(entries):
        memory.write(0x1000 * (1 + level), struct.pack("<Q", entry))
    return memory


def test_long_mode_is_what_paging_and_cs_say_or_the_dump() -> None:
    memory = tables(0x2000 | PTE_P, 0x3000 | PTE_P, PTE_PS | PTE_P)
    assert derive_efer(LONG, memory)[0] == EFER_LME | EFER_LMA
    assert derive_efer({**LONG, "cs.flags": 0}, memory)[0] == 0
    assert derive_efer({**LONG, "cs.flags": 0}, memory, long_mode=True)[0] == EFER_LME | EFER_LMA
    assert derive_efer({**LONG, "cr0": CR0_PE}, memory)[0] == 0
    assert "LME and LMA are clear" in derive_efer({**LONG, "cr0": CR0_PE}, memory)[1]
    assert "LME and LMA are set" in derive_efer(LONG, memory)[1]


def test_no_execute_is_found_wherever_it_is_and_only_in_what_is_present() -> None:
    for level in range(3):
        entries = [0x2000 | PTE_P, 0x3000 | PTE_P, PTE_PS | PTE_P]
        entries[level] |= PTE_NX
        efer, sentence = derive_efer(LONG, tables(*entries))
        assert efer == EFER_LME | EFER_LMA | EFER_NXE
        assert "bit 63" in sentence
    assert derive_efer(LONG, tables(0x2000 | PTE_P, PTE_NX))[0] == EFER_LME | EFER_LMA


def test_tables_in_a_circle_or_nowhere_come_to_an_end() -> None:
    assert derive_efer(LONG, tables(0x1000 | PTE_P))[0] == EFER_LME | EFER_LMA
    assert derive_efer({**LONG, "cr3": 0xFFF_F000}, tables())[0] == EFER_LME | EFER_LMA
