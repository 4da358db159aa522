"""EFI_MEMORY_ATTRIBUTE_PROTOCOL (UEFI 2.10, 37.6): read-only, read-protect and execute-protect in the page tables."""

from __future__ import annotations

from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.memory.memory_map import MemoryMap
from efishim.firmware.memory.paging import PageTables
from efishim.firmware.protocols.base import ProtocolContext
from efishim.machine.memory import PAGE
from efishim.wire.guids import EFI_MEMORY_ATTRIBUTE_PROTOCOL_GUID
from efishim.wire.uefi import EFI_MEMORY_RO, EFI_MEMORY_RP, EFI_MEMORY_XP
from efishim.wire.uefi_protocols import MemoryAttributeProtocol
from efishim.wire.x86 import PTE_NX, PTE_P, PTE_W

FUNCTIONS = functions(
    """
    MemoryAttribute 37.6.1 GetMemoryAttributes This:ptr BaseAddress:u64 Length:u64 Attributes:>u64
    MemoryAttribute 37.6.2 SetMemoryAttributes This:ptr BaseAddress:u64 Length:u64 Attributes:u64
    MemoryAttribute 37.6.3 ClearMemoryAttributes This:ptr BaseAddress:u64 Length:u64 Attributes:u64
    """
)

KNOWN = EFI_MEMORY_RO | EFI_MEMORY_RP | EFI_MEMORY_XP


class MemoryAttribute:
    """Works on the firmware's own tables, whatever the caller runs on."""

    def __init__(self, context: ProtocolContext, pages: PageTables, memory_map: MemoryMap) -> None:
        self._guest = context.guest
        self._pages = pages
        self._map = memory_map
        handlers = {
            "GetMemoryAttributes": self.get_memory_attributes,
            "SetMemoryAttributes": self.set_memory_attributes,
            "ClearMemoryAttributes": self.clear_memory_attributes,
        }
        self.interface = context.interface(FUNCTIONS, MemoryAttributeProtocol, handlers)
        self.handle = context.install(0, EFI_MEMORY_ATTRIBUTE_PROTOCOL_GUID, self.interface)

    def _check(self, this: int, base: int, length: int) -> None:
        demand(this == self.interface and length and base % PAGE == 0 and length % PAGE == 0)
        held = self._map.overlapping(base, base + length)
        covered = sum(min(d.end, base + length) - max(d.start, base) for d in held)
        demand(covered == length, Status.UNSUPPORTED)

    def get_memory_attributes(self, this: int, base: int, length: int, out: int) -> int:
        """GetMemoryAttributes (37.6.1). NO_MAPPING when the range is not of one kind."""
        demand(out)
        self._check(this, base, length)
        kinds = {_attributes(value) for _, value in self._pages.pages(base, base + length)}
        demand(len(kinds) == 1, Status.NO_MAPPING)
        self._guest.put(out, kinds.pop(), 8)
        return Status.SUCCESS

    def set_memory_attributes(self, this: int, base: int, length: int, attributes: int) -> int:
        """SetMemoryAttributes (37.6.2)."""
        return self._change(this, base, length, attributes, on=True)

    def clear_memory_attributes(self, this: int, base: int, length: int, attributes: int) -> int:
        """ClearMemoryAttributes (37.6.3)."""
        return self._change(this, base, length, attributes, on=False)

    def _change(self, this: int, base: int, length: int, attributes: int, *, on: bool) -> int:
        demand(attributes and attributes & ~KNOWN == 0)
        self._check(this, base, length)
        bits = ((EFI_MEMORY_RO, PTE_W, False), (EFI_MEMORY_RP, PTE_P, False), (EFI_MEMORY_XP, PTE_NX, True))
        # A bit that stands for a permission is cleared to set the attribute, NX is set.
        put = sum(bit for attribute, bit, same in bits if attributes & attribute and on == same)
        clear = sum(bit for attribute, bit, same in bits if attributes & attribute and on != same)
        self._pages.change(base, base + length, put=put, clear=clear)
        return Status.SUCCESS


def _attributes(entry: int) -> int:
    found = 0 if entry & PTE_W else EFI_MEMORY_RO
    found |= 0 if entry & PTE_P else EFI_MEMORY_RP
    return found | (EFI_MEMORY_XP if entry & PTE_NX else 0)
