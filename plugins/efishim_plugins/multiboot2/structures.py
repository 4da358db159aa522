"""Names the parts of Multiboot2 information in guest memory, so that a record can show their fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import Structure
from efishim.wire.multiboot import (
    MULTIBOOT2_TAGS,
    Multiboot2BasicMeminfo,
    Multiboot2EfiMmap,
    Multiboot2ElfSections,
    Multiboot2Framebuffer,
    Multiboot2Info,
    Multiboot2Mmap,
    Multiboot2MmapEntry,
    Multiboot2Module,
    Multiboot2Pointer32,
    Multiboot2Pointer64,
    Multiboot2Tag,
)
from efishim_plugins.multiboot2 import reader

if TYPE_CHECKING:
    from efishim.provider import GuestMemory
    from efishim.wire.layout import Layout

LAYOUTS: dict[str, type[Layout]] = {
    "BASIC_MEMINFO": Multiboot2BasicMeminfo,
    "EFI32": Multiboot2Pointer32,
    "EFI32_IH": Multiboot2Pointer32,
    "EFI64": Multiboot2Pointer64,
    "EFI64_IH": Multiboot2Pointer64,
    "EFI_MMAP": Multiboot2EfiMmap,
    "ELF_SECTIONS": Multiboot2ElfSections,
    "FRAMEBUFFER": Multiboot2Framebuffer,
    "LOAD_BASE_ADDR": Multiboot2Pointer32,
    "MMAP": Multiboot2Mmap,
    "MODULE": Multiboot2Module,
}

TEXTS = {"CMDLINE": "command line", "BOOT_LOADER_NAME": "boot loader name"}
"""What the text in a tag is called, as with the other providers."""


def of(memory: GuestMemory, address: int) -> tuple[Structure, ...]:
    """The information's head, each tag, and the rows of the memory map. Raises what `memory` raises for an address that leads
    nowhere, and ProviderError for tags that do not fit.
    """
    size = min(Multiboot2Info.parse(memory.read(address, Multiboot2Info.SIZE)).total_size, reader.LARGEST)
    found = [Structure("multiboot2_info", address, Multiboot2Info.SIZE, Multiboot2Info)]
    counts: dict[str, int] = {}
    for at, kind, data in reader.split(memory.read(address, size)):
        name = MULTIBOOT2_TAGS.get(kind, f"type {kind}")
        number = counts[name] = counts.get(name, -1) + 1
        layout = LAYOUTS.get(name, Multiboot2Tag)
        found.append(Structure(f"tag {name}[{number}]", address + at, len(data), layout if len(data) >= layout.SIZE else None))
        if name in TEXTS:
            found.append(Structure(TEXTS[name], address + at + Multiboot2Tag.SIZE, len(data) - Multiboot2Tag.SIZE))
        if name == "MMAP":
            step = Multiboot2MmapEntry.SIZE
            first = address + at + Multiboot2Mmap.SIZE
            found += [
                Structure(f"multiboot_mmap_entry[{i}]", first + i * step, step, Multiboot2MmapEntry)
                for i in range((len(data) - Multiboot2Mmap.SIZE) // step)
            ]
    return tuple(found)
