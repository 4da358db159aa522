"""Parses the Multiboot2 information as an operating system does (section 3.6)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from efishim.errors import ProviderError
from efishim.provider import Framebuffer, MemoryRange, Module
from efishim.wire.multiboot import (
    MULTIBOOT2_TAGS,
    Multiboot2BasicMeminfo,
    Multiboot2Framebuffer,
    Multiboot2Info,
    Multiboot2Mmap,
    Multiboot2MmapEntry,
    Multiboot2Module,
    Multiboot2Tag,
)
from efishim_plugins.multiboot_common import shared

LARGEST = 1 << 20
"""Most bytes of information that are read."""
ALIGNMENT = 8
END = 0
COLOUR_BYTES = 6


@dataclass
class Found:
    """What the tags said, as far as the shim can use it."""

    command_line: bytes | None = None
    modules: list[Module] = field(default_factory=list)
    amounts: tuple[int, int] | None = None
    ranges: tuple[MemoryRange, ...] = ()
    rsdp: int | None = None
    """Physical address of the copy in the tag."""
    rsdp_is_new: bool = False
    smbios: bool = False
    framebuffer: Framebuffer | None = None


def split(raw: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(offset, type, whole tag) of each tag before the end tag. Raises ProviderError when one leads outside."""
    at = Multiboot2Info.SIZE
    while at + Multiboot2Tag.SIZE <= len(raw):
        head = Multiboot2Tag.parse(raw[at : at + Multiboot2Tag.SIZE])
        if head.type == END:
            return
        if head.size < Multiboot2Tag.SIZE or at + head.size > len(raw):
            raise ProviderError(f"a tag of type {head.type} with {head.size} bytes does not fit the Multiboot2 information")
        yield at, head.type, raw[at : at + head.size]
        at += -(-head.size // ALIGNMENT) * ALIGNMENT
    raise ProviderError("the Multiboot2 information has no end tag")


def take(found: Found, kind: int, data: bytes, address: int) -> None:
    """Add what one tag says; tags that the shim has no use for are left out. Raises ProviderError."""
    name = MULTIBOOT2_TAGS.get(kind, "")
    if len(data) < _SHORTEST.get(name, 0):
        raise ProviderError(f"the {name} tag has {len(data)} bytes")
    match name:
        case "CMDLINE":
            found.command_line = _text(data[Multiboot2Tag.SIZE :])
        case "MODULE":
            if len(found.modules) >= shared.MAX_MODULES:
                raise ProviderError(f"the Multiboot2 information has more than {shared.MAX_MODULES} modules")
            found.modules.append(_module(data))
        case "BASIC_MEMINFO":
            told = Multiboot2BasicMeminfo.parse(data)
            found.amounts = (told.mem_lower, told.mem_upper)
        case "MMAP":
            found.ranges = _ranges(data)
        case "FRAMEBUFFER":
            found.framebuffer = _screen(data)
        case "ACPI_NEW":
            found.rsdp, found.rsdp_is_new = address + Multiboot2Tag.SIZE, True
        case "ACPI_OLD" if not found.rsdp_is_new:
            found.rsdp = address + Multiboot2Tag.SIZE
        case "SMBIOS":
            found.smbios = True
        case _:
            pass


_SHORTEST = {
    "MODULE": Multiboot2Module.SIZE,
    "BASIC_MEMINFO": Multiboot2BasicMeminfo.SIZE,
    "MMAP": Multiboot2Mmap.SIZE,
    "FRAMEBUFFER": Multiboot2Framebuffer.SIZE,
}


def _text(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]


def _module(data: bytes) -> Module:
    told = Multiboot2Module.parse(data)
    if told.mod_end < told.mod_start:
        raise ProviderError(f"a module ends at {told.mod_end:#x}, before it starts at {told.mod_start:#x}")
    return Module(told.mod_start, told.mod_end - told.mod_start, _text(data[Multiboot2Module.SIZE :]))


def _ranges(data: bytes) -> tuple[MemoryRange, ...]:
    """Entries may be longer than what is known of them (section 3.6.8)."""
    step = Multiboot2Mmap.parse(data).entry_size
    if step < Multiboot2MmapEntry.SIZE or step % ALIGNMENT:
        raise ProviderError(f"the entries of the memory map have {step} bytes")
    ranges: list[MemoryRange] = []
    for at in range(Multiboot2Mmap.SIZE, len(data) - Multiboot2MmapEntry.SIZE + 1, step):
        if len(ranges) >= shared.MAX_RANGES:
            raise ProviderError(f"the memory map has more than {shared.MAX_RANGES} entries")
        row = Multiboot2MmapEntry.parse(data[at : at + Multiboot2MmapEntry.SIZE])
        ranges.append(shared.range_of(row.base_addr, row.length, row.type))
    return tuple(ranges)


def _screen(data: bytes) -> Framebuffer | None:
    told = Multiboot2Framebuffer.parse(data)
    colour = data[Multiboot2Framebuffer.SIZE :]
    if told.framebuffer_type != shared.FRAMEBUFFER_RGB or len(colour) < COLOUR_BYTES:
        return None
    shape = (told.framebuffer_pitch, told.framebuffer_width, told.framebuffer_height, told.framebuffer_bpp)
    return shared.framebuffer_of((told.framebuffer_addr, *shape), colour)
