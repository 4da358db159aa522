"""Names the parts of Multiboot information in guest memory, so that a record can show their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import Structure, text_at
from efishim.wire.multiboot import MULTIBOOT_INFO_FLAGS, MultibootInfo, MultibootMmapEntry, MultibootModule

if TYPE_CHECKING:
    from efishim.provider import GuestMemory

FLAG = {name: bit for bit, name in MULTIBOOT_INFO_FLAGS.items()}
MAX_ROWS = 1024


def of(memory: GuestMemory, address: int) -> tuple[Structure, ...]:
    """multiboot_info and what it points to. Raises what `memory` raises for pointers that lead nowhere, and ProviderError for
    a string without end.
    """
    info = MultibootInfo.parse(memory.read(address, MultibootInfo.SIZE))
    found = [Structure("multiboot_info", address, MultibootInfo.SIZE, MultibootInfo)]
    if info.flags & FLAG["CMDLINE"]:
        found.append(Structure("command line", info.cmdline, len(text_at(memory, info.cmdline)) + 1))
    if info.flags & FLAG["MODS"]:
        size = MultibootModule.SIZE
        found += [
            Structure(f"multiboot_module[{i}]", info.mods_addr + i * size, size, MultibootModule)
            for i in range(min(info.mods_count, MAX_ROWS))
        ]
    if info.flags & FLAG["MEM_MAP"]:
        size = MultibootMmapEntry.SIZE
        found += [
            Structure(f"multiboot_mmap_entry[{i}]", info.mmap_addr + i * size, size, MultibootMmapEntry)
            for i in range(min(info.mmap_length // size, MAX_ROWS))
        ]
    if info.flags & FLAG["BOOT_LOADER_NAME"]:
        name = text_at(memory, info.boot_loader_name)
        found.append(Structure("boot loader name", info.boot_loader_name, len(name) + 1))
    return tuple(found)
