"""Builds the tags of the Multiboot2 information (section 3.6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.provider import EfiFacts, Framebuffer, MemoryKind, MemoryRange, Module
from efishim.wire.acpi import Rsdp
from efishim.wire.multiboot import (
    MULTIBOOT2_TAGS,
    Multiboot2BasicMeminfo,
    Multiboot2EfiMmap,
    Multiboot2Framebuffer,
    Multiboot2Info,
    Multiboot2Mmap,
    Multiboot2MmapEntry,
    Multiboot2Module,
    Multiboot2Pointer32,
    Multiboot2Pointer64,
    Multiboot2Tag,
)
from efishim.wire.smbios import ANCHOR3, EntryPoint3
from efishim_plugins.boot_params import memory_map
from efishim_plugins.multiboot_common import shared

if TYPE_CHECKING:
    from efishim.provider import BootRequest, GuestMemory
    from efishim.wire.layout import Layout

TYPE = {name: number for number, name in MULTIBOOT2_TAGS.items()}
ALIGNMENT = 8
FOUR_GIB = 1 << 32
RSDP_SIGNATURE = b"RSD PTR "
RSDP_V1_SIZE = 20
MAX_RSDP, MAX_SMBIOS = 4096, 64 << 10
SMBIOS_VERSION_AND_RESERVED = 8


def collect(request: BootRequest, memory: GuestMemory, name: bytes, *, relocatable: bool) -> list[bytes]:
    """All tags that there is something to say in, without padding and the end tag. Raises ProviderError."""
    facts = request.facts
    parts = [_tag("CMDLINE", request.command_line + b"\0"), _tag("BOOT_LOADER_NAME", name + b"\0")]
    parts += [_module(module) for module in request.modules]
    if facts.efi is None or facts.efi.image_handle is None:
        ranges = facts.memory_map if facts.efi is None else _of_efi(facts.efi)
        lower, upper = shared.amounts(ranges)
        parts.append(made("BASIC_MEMINFO", Multiboot2BasicMeminfo(mem_lower=lower, mem_upper=upper)))
        parts.append(_mmap(ranges))
    if facts.framebuffer is not None:
        parts.append(_framebuffer(facts.framebuffer))
    parts += _acpi(memory, facts.rsdp)
    parts += _smbios(memory, facts.smbios)
    if facts.efi is not None:
        parts += _efi(facts.efi)
    if relocatable and request.loaded is not None:
        parts.append(made("LOAD_BASE_ADDR", Multiboot2Pointer32(pointer=request.loaded.base)))
    return parts


def pack(parts: list[bytes]) -> bytes:
    """The whole information: fixed part, tags on 8-byte boundaries, end tag."""
    body = b"".join(part.ljust(-(-len(part) // ALIGNMENT) * ALIGNMENT, b"\0") for part in [*parts, _tag("END", b"")])
    return Multiboot2Info(total_size=Multiboot2Info.SIZE + len(body)).build() + body


def _tag(name: str, data: bytes) -> bytes:
    return Multiboot2Tag(type=TYPE[name], size=Multiboot2Tag.SIZE + len(data)).build() + data


def made(name: str, layout: Layout, rest: bytes = b"") -> bytes:
    """A tag out of its layout, whose head is not filled in yet, and what follows it."""
    return _tag(name, layout.build()[Multiboot2Tag.SIZE :] + rest)


def _module(module: Module) -> bytes:
    end = module.start + module.size
    if end >= FOUR_GIB:
        raise ProviderError(f"a module at {module.start:#x} cannot be told of: the fields have 32 bits")
    return made("MODULE", Multiboot2Module(mod_start=module.start, mod_end=end), module.command_line + b"\0")


def _mmap(ranges: tuple[MemoryRange, ...]) -> bytes:
    rows = b"".join(
        Multiboot2MmapEntry(base_addr=one.start, length=one.size, type=shared.type_of(one.kind)).build() for one in ranges
    )
    return made("MMAP", Multiboot2Mmap(entry_size=Multiboot2MmapEntry.SIZE), rows)


def _of_efi(efi: EfiFacts) -> tuple[MemoryRange, ...]:
    """What EFI leaves to the kernel: the memory of runtime services is reserved (section 3.6.8)."""
    return tuple(MemoryRange(start, size, MemoryKind(kind)) for start, size, kind in memory_map.from_efi(efi))


def _framebuffer(screen: Framebuffer) -> bytes:
    values = Multiboot2Framebuffer(
        framebuffer_addr=screen.address,
        framebuffer_pitch=screen.pitch,
        framebuffer_width=screen.width,
        framebuffer_height=screen.height,
        framebuffer_bpp=screen.bits_per_pixel,
        framebuffer_type=shared.FRAMEBUFFER_RGB,
    )
    return made("FRAMEBUFFER", values, shared.colours(screen))


def _acpi(memory: GuestMemory, address: int | None) -> list[bytes]:
    """Copies of the RSDP: what ACPI 1.0 knows of it, and all of it when there is more."""
    if address is None:
        return []
    head = memory.read(address, RSDP_V1_SIZE)
    if not head.startswith(RSDP_SIGNATURE):
        return []
    copies = [_tag("ACPI_OLD", head)]
    rsdp = Rsdp.parse(memory.read(address, Rsdp.SIZE)) if head[15] >= 2 else None
    if rsdp is not None and Rsdp.SIZE <= rsdp.length <= MAX_RSDP:
        copies.append(_tag("ACPI_NEW", memory.read(address, rsdp.length)))
    return copies


def _smbios(memory: GuestMemory, address: int | None) -> list[bytes]:
    """The version and a copy of the structures behind a 64-bit entry point."""
    if address is None:
        return []
    entry = EntryPoint3.parse(memory.read(address, EntryPoint3.SIZE))
    if entry.anchor != ANCHOR3 or not 0 < entry.table_maximum_size <= MAX_SMBIOS:
        return []
    head = bytes((entry.major_version, entry.minor_version)).ljust(SMBIOS_VERSION_AND_RESERVED, b"\0")
    return [_tag("SMBIOS", head + memory.read(entry.table_address, entry.table_maximum_size))]


def _efi(efi: EfiFacts) -> list[bytes]:
    """The system table, and the memory map that ExitBootServices was given; or what is needed to call it. While there are
    boot services no memory map is told, for the next allocation would make it wrong (sections 3.6.3, 3.6.8, 3.6.19).
    """
    if efi.image_handle is not None:
        return [
            _tag("EFI_BS", b""),
            made("EFI64", Multiboot2Pointer64(pointer=efi.system_table)),
            made("EFI64_IH", Multiboot2Pointer64(pointer=efi.image_handle)),
        ]
    rows = Multiboot2EfiMmap(descriptor_size=efi.descriptor_size, descriptor_version=efi.descriptor_version)
    return [
        made("EFI64", Multiboot2Pointer64(pointer=efi.system_table)),
        made("EFI_MMAP", rows, efi.memory_map),
    ]
