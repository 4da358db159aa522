"""Walks the guest's page tables for host accesses by linear address.

Covers no paging, 32-bit, PAE and 4-level paging (Intel SDM volume 3, chapter 4). 5-level paging is not offered by CPUID.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.x86 import (
    CR0_PG,
    CR0_WP,
    CR4_PAE,
    CR4_PSE,
    CR4_SMAP,
    CR4_SMEP,
    EFER_LMA,
    EFER_NXE,
    PF_I,
    PF_P,
    PF_U,
    PF_W,
    PTE_ADDRESS,
    PTE_NX,
    PTE_P,
    PTE_PS,
    PTE_U,
    PTE_W,
)


class PageFault(Exception):
    """A walk that would raise #PF: `address` is what CR2 gets, `error` the error code."""

    def __init__(self, address: int, error: int) -> None:
        super().__init__(f"page fault at {address:#x}, error {error:#x}")
        self.address = address
        self.error = error


@dataclass(frozen=True)
class Translation:
    """Where a linear address lies and what the tables permit there."""

    physical: int
    writable: bool
    user: bool
    executable: bool
    page_size: int


class Walker:
    """Translates linear addresses with given control registers. Stateless: nothing is cached between calls."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory

    def _entry(self, address: int, size: int) -> int:
        try:
            return self._memory.u64(address) if size == 8 else self._memory.u32(address)
        except BusError:
            return 0

    def lookup(self, linear: int, *, cr0: int, cr3: int, cr4: int, efer: int) -> Translation | None:
        """The translation, or None when no present mapping leads there. Permissions are not judged."""
        if not cr0 & CR0_PG:
            return Translation(linear & 0xFFFFFFFF, True, True, True, 0x1000)
        if not cr4 & CR4_PAE:
            return self._lookup32(linear & 0xFFFFFFFF, cr3, bool(cr4 & CR4_PSE))
        if efer & EFER_LMA:
            if (linear >> 47) not in (0, 0x1FFFF):
                return None
            table = cr3 & PTE_ADDRESS
            shifts: tuple[int, ...] = (39, 30, 21, 12)
            writable = user = True
        else:
            linear &= 0xFFFFFFFF
            pdpte = self._entry((cr3 & 0xFFFFFFE0) + 8 * (linear >> 30), 8)
            if not pdpte & PTE_P:
                return None
            table, shifts = pdpte & PTE_ADDRESS, (21, 12)
            writable = user = True
        executable = True
        nx = bool(efer & EFER_NXE)
        for shift in shifts:
            entry = self._entry(table + 8 * ((linear >> shift) & 0x1FF), 8)
            if not entry & PTE_P:
                return None
            writable &= bool(entry & PTE_W)
            user &= bool(entry & PTE_U)
            executable &= not (nx and entry & PTE_NX)
            if shift == 12 or (entry & PTE_PS and shift in (21, 30)):
                size = 1 << shift
                base = entry & PTE_ADDRESS & ~(size - 1)
                return Translation(base | (linear & (size - 1)), writable, user, executable, size)
            table = entry & PTE_ADDRESS
        return None

    def _lookup32(self, linear: int, cr3: int, pse: bool) -> Translation | None:
        entry = self._entry((cr3 & 0xFFFFF000) + 4 * (linear >> 22), 4)
        if not entry & PTE_P:
            return None
        writable, user = bool(entry & PTE_W), bool(entry & PTE_U)
        if entry & PTE_PS and pse:
            base = (entry & 0xFFC00000) | ((entry >> 13 & 0xFF) << 32)
            return Translation(base | (linear & 0x3FFFFF), writable, user, True, 1 << 22)
        entry = self._entry((entry & 0xFFFFF000) + 4 * (linear >> 12 & 0x3FF), 4)
        if not entry & PTE_P:
            return None
        writable &= bool(entry & PTE_W)
        user &= bool(entry & PTE_U)
        return Translation((entry & 0xFFFFF000) | (linear & 0xFFF), writable, user, True, 0x1000)

    def translate(
        self,
        linear: int,
        *,
        cr0: int,
        cr3: int,
        cr4: int,
        efer: int,
        write: bool = False,
        user: bool = False,
        fetch: bool = False,
    ) -> int:
        """Physical address for an access, or PageFault with the error code that the processor would push."""
        error = (PF_W if write else 0) | (PF_U if user else 0)
        if fetch and ((efer & EFER_NXE and cr4 & CR4_PAE) or cr4 & CR4_SMEP):
            error |= PF_I
        found = self.lookup(linear, cr0=cr0, cr3=cr3, cr4=cr4, efer=efer)
        if found is None:
            raise PageFault(linear, error)
        if not cr0 & CR0_PG:
            return found.physical
        denied = (
            (user and not found.user)
            or (write and not found.writable and (user or cr0 & CR0_WP))
            or (fetch and not found.executable)
            or (not user and found.user and ((fetch and cr4 & CR4_SMEP) or (not fetch and cr4 & CR4_SMAP)))
        )
        if denied:
            raise PageFault(linear, error | PF_P)
        return found.physical
