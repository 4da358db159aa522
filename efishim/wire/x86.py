"""Bits of registers, page tables and descriptors of the x86 processor.

Sources: Intel SDM volume 3, sections 2.3 and 2.5 (EFLAGS, control registers), 2.2.1 (IA32_EFER), 3.4.5 (segment
descriptors), 4.3 to 4.5 (page tables) and 4.7 (page-fault error codes).
"""

from __future__ import annotations

from typing import NamedTuple

CR0_PE, CR0_MP, CR0_EM, CR0_TS, CR0_ET, CR0_NE, CR0_WP, CR0_PG = (1 << bit for bit in (0, 1, 2, 3, 4, 5, 16, 31))
CR4_DE, CR4_PSE, CR4_PAE, CR4_MCE, CR4_OSFXSR, CR4_OSXMMEXCPT, CR4_LA57, CR4_SMEP, CR4_SMAP = (
    1 << bit for bit in (3, 4, 5, 6, 9, 10, 12, 20, 21)
)
EFER_SCE, EFER_LME, EFER_LMA, EFER_NXE = (1 << bit for bit in (0, 8, 10, 11))
EFLAGS_TF, EFLAGS_IF, EFLAGS_DF, EFLAGS_NT, EFLAGS_RF, EFLAGS_VM, EFLAGS_AC = (1 << bit for bit in (8, 9, 10, 14, 16, 17, 18))

PTE_P, PTE_W, PTE_U, PTE_A, PTE_D, PTE_PS, PTE_NX = (1 << bit for bit in (0, 1, 2, 5, 6, 7, 63))
PTE_ADDRESS = 0x000F_FFFF_FFFF_F000
"""The physical address in CR3 and in entries of 8 bytes."""

PF_P, PF_W, PF_U, PF_RSVD, PF_I = (1 << bit for bit in range(5))
"""Error code of a page fault: the page was present, it was a store, in ring 3, a reserved bit was set, it was a fetch."""

DESCRIPTOR_L, DESCRIPTOR_B, DESCRIPTOR_G = (1 << bit for bit in (21, 22, 23))
"""Of a descriptor's upper half: 64-bit code, 32-bit code or stack, the limit counts pages."""
DESCRIPTOR_ATTRIBUTES = 0x00F0_FF00
"""The bits of a descriptor's upper half that are neither base nor limit."""


class SegmentDescriptor(NamedTuple):
    """Base, limit in bytes (its granularity applied), and the upper half, in which the attributes are."""

    base: int
    limit: int
    flags: int

    @property
    def present(self) -> bool:
        """P."""
        return bool(self.flags & 1 << 15)

    @property
    def dpl(self) -> int:
        """Privilege level."""
        return self.flags >> 13 & 3

    @property
    def code(self) -> bool:
        """A code segment, rather than data or a system descriptor."""
        return self.flags & 0x1800 == 0x1800

    @property
    def writable_data(self) -> bool:
        """A data segment that can be written."""
        return self.flags & 0x1A00 == 0x1200

    @property
    def conforming(self) -> bool:
        """Of code: it runs with its caller's privilege."""
        return bool(self.flags & 1 << 10)


def segment_descriptor(value: int) -> SegmentDescriptor:
    """Decode the eight bytes of a descriptor, as a number. System descriptors are 16 bytes in long mode: their upper base
    bits are in the entry behind and not seen here.
    """
    high, low = value >> 32, value & 0xFFFFFFFF
    limit = low & 0xFFFF | high & 0xF0000
    if high & DESCRIPTOR_G:
        limit = limit << 12 | 0xFFF
    return SegmentDescriptor(low >> 16 | (high & 0xFF) << 16 | high & 0xFF000000, limit, high)
