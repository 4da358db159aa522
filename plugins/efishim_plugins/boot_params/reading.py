"""Parses boot_params from guest memory as a kernel would, with limits on everything.

Sources: arch/x86/include/asm/bootparam_utils.h (sanitize_boot_params), arch/x86/kernel/e820.c (e820__memory_setup_extended).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.provider import BootInformation, Framebuffer, MemoryKind, MemoryRange, Module, Provenance, text_at
from efishim.wire.bootparams import HDRS_MAGIC, BootParams, E820Entry, EfiInfo, SetupData
from efishim_plugins.boot_params.header import CAPABILITY_64BIT_BASE, VIDEO_TYPE_EFI, VIDEO_TYPE_VLFB
from efishim_plugins.boot_params.memory_map import SETUP_E820_EXT

if TYPE_CHECKING:
    from efishim.provider import GuestMemory

MAX_NODES = 64
MAX_EXTENDED = 1024
"""Entries that are read from SETUP_E820_EXT."""
LARGEST_FRAMEBUFFER = 1 << 14
END_OF_MEMORY = 1 << 64
SETUP_DATA_FROM, CMD_LINE_PTR_FROM = 0x209, 0x202


def read_back(memory: GuestMemory, address: int | None, notes: Iterable[Provenance] = ()) -> BootInformation:
    """What boot_params at `address` says; `notes` are added to its provenance, and go before its own for their field.

    Raises ProviderError for a structure without the header's magic, a chain or a string without end, impossible ranges.
    """
    if address is None:
        raise ProviderError("there is no boot_params to read")
    params = BootParams.parse(memory.read(address, BootParams.SIZE))
    if params.hdr.header != HDRS_MAGIC or params.hdr.version < CMD_LINE_PTR_FROM:
        raise ProviderError(
            f"boot_params has the magic {params.hdr.header:#x} and protocol {params.hdr.version:#x};"
            f" {HDRS_MAGIC:#x} and {CMD_LINE_PTR_FROM:#x} or later are needed"
        )
    told = [
        Provenance("smbios", "boot_params has no field for it"),
        Provenance("modules", "hdr.ramdisk_image is one range: several ramdisks lie in it one behind the other"),
    ]
    if params.sentinel:
        # A loader that copied more than the header; the kernel takes these fields for garbage then.
        params.ext_ramdisk_image = params.ext_ramdisk_size = params.ext_cmd_line_ptr = 0
        params.efi_info = EfiInfo()
    if params.efi_info.efi_loader_signature:
        told.append(Provenance("memory_map", "boot_params.e820_table; efi_info is not looked at"))
    entries = [(one.addr, one.size, one.type) for one in params.e820()]
    if params.hdr.version >= SETUP_DATA_FROM:
        more = _extended(memory, params.hdr.setup_data)
        if more:
            told.append(Provenance("memory_map", f"boot_params.e820_table, and {len(more)} entries in SETUP_E820_EXT"))
        entries += more
    framebuffer = _framebuffer(params)
    if framebuffer is None:
        told.append(Provenance("framebuffer", "screen_info describes none"))
    if not params.acpi_rsdp_addr:
        told.append(Provenance("rsdp", "acpi_rsdp_addr is 0"))
    start, size = params.ramdisk()
    notes = tuple(notes)
    named = {one.field for one in notes}
    return BootInformation(
        memory_map=tuple(_range(*entry) for entry in entries if entry[1]),
        command_line=text_at(memory, params.cmd_line()),
        modules=(Module(start, size),) if size else (),
        rsdp=params.acpi_rsdp_addr or None,
        framebuffer=framebuffer,
        provenance=(*notes, *(one for one in told if one.field not in named)),
    )


def _extended(memory: GuestMemory, first: int) -> list[tuple[int, int, int]]:
    """The entries of all SETUP_E820_EXT nodes."""
    entries: list[tuple[int, int, int]] = []
    seen: set[int] = set()
    address = first
    while address:
        if address in seen or len(seen) == MAX_NODES:
            raise ProviderError(f"the setup_data chain from {first:#x} has no end")
        seen.add(address)
        head = SetupData.parse(memory.read(address, SetupData.SIZE))
        if head.type == SETUP_E820_EXT:
            count = head.len // E820Entry.SIZE
            if len(entries) + count > MAX_EXTENDED:
                raise ProviderError(f"SETUP_E820_EXT announces {count} ranges of memory")
            raw = memory.read(address + SetupData.SIZE, count * E820Entry.SIZE)
            views = [E820Entry.parse(raw[i * E820Entry.SIZE : (i + 1) * E820Entry.SIZE]) for i in range(count)]
            entries += [(one.addr, one.size, one.type) for one in views]
        address = head.next
    return entries


def _range(start: int, size: int, kind: int) -> MemoryRange:
    """An undefined type is memory that must not be used."""
    if start + size > END_OF_MEMORY:
        raise ProviderError(f"the memory map has {size:#x} bytes at {start:#x}, which is more than there are addresses")
    known = {one.value for one in MemoryKind}
    return MemoryRange(start, size, MemoryKind(kind) if kind in known else MemoryKind.RESERVED)


def _framebuffer(params: BootParams) -> Framebuffer | None:
    info = params.screen_info
    if info.orig_video_isVGA not in {VIDEO_TYPE_VLFB, VIDEO_TYPE_EFI}:
        return None
    address = info.lfb_base
    if info.capabilities & CAPABILITY_64BIT_BASE:
        address |= info.ext_lfb_base << 32
    fits = 0 < info.lfb_width <= LARGEST_FRAMEBUFFER and 0 < info.lfb_height <= LARGEST_FRAMEBUFFER
    if not address or not fits or info.lfb_width * info.lfb_depth > info.lfb_linelength * 8:
        return None
    return Framebuffer(
        address,
        info.lfb_width,
        info.lfb_height,
        info.lfb_linelength,
        info.lfb_depth,
        red=(info.red_pos, info.red_size),
        green=(info.green_pos, info.green_size),
        blue=(info.blue_pos, info.blue_size),
    )
