"""Where Firecracker puts things (src/vmm/src/arch/x86_64/layout.rs and regs.rs), and how it tells of memory."""

from __future__ import annotations

from efishim.provider import Arena, GuestMemory, MachineFacts, MemoryKind

GDT, IDT = 0x500, 0x520
START_INFO, MODULE_LIST = 0x6000, 0x6040
MEMORY_MAP = ZERO_PAGE = 0x7000
"""A kernel gets one of them."""
STACK = 0x8FF0
PML4, PDPTE, PDE = 0x9000, 0xA000, 0xB000
COMMAND_LINE, COMMAND_LINE_SIZE = 0x2_0000, 2048
SYSTEM, SYSTEM_END = 0x9_FC00, 0xE_0000
"""Between them are ACPI and MP tables; the RSDP lies behind."""
HIGH = 0x10_0000
MMCONFIG, MMCONFIG_SIZE = 0xEEC0_0000, 0x1000_0000

RAM, RESERVED = 1, 2

Row = tuple[int, int, int]
"""Address, size and type, as e820 and hvm_memmap_table_entry have them."""


def put(memory: GuestMemory, arena: Arena, address: int, data: bytes, what: str) -> None:
    """Write to a fixed address. Raises ProviderError when something else is there."""
    memory.write(arena.at(address, len(data), what=what), data)


def memory_map(facts: MachineFacts) -> list[Row]:
    """Firecracker's: low memory, its system area, PCI's configuration space, and RAM from 1 MiB on."""
    ram = [(max(one.start, HIGH), one.end) for one in facts.memory_map if one.kind is MemoryKind.RAM and one.end > HIGH]
    return [
        (0, SYSTEM, RAM),
        (SYSTEM, SYSTEM_END - SYSTEM, RESERVED),
        (MMCONFIG, MMCONFIG_SIZE, RESERVED),
        *((start, end - start, RAM) for start, end in ram),
    ]
