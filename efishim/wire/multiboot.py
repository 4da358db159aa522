"""Multiboot 1 and Multiboot2: image headers and boot information.

Sources: Multiboot Specification 0.6.96 (section 3.1 for the header, 3.3 for the information); Multiboot2 Specification
2.0 (section 3.1 for the header and its tags, 3.6 for the information).
"""

from __future__ import annotations

from efishim.wire.layout import Layout, array, part, u8, u16, u32, u64

MULTIBOOT_HEADER_MAGIC = 0x1BADB002
MULTIBOOT_BOOTLOADER_MAGIC = 0x2BADB002
MULTIBOOT_SEARCH = 8192
"""The header lies in the first so many bytes of the image, on a 4-byte boundary."""

MULTIBOOT2_HEADER_MAGIC = 0xE85250D6
MULTIBOOT2_BOOTLOADER_MAGIC = 0x36D76289
MULTIBOOT2_SEARCH = 32768
"""The header lies in the first so many bytes of the image, on an 8-byte boundary."""

MULTIBOOT_INFO_FLAGS: dict[int, str] = {
    1 << 0: "MEMORY",
    1 << 1: "BOOTDEV",
    1 << 2: "CMDLINE",
    1 << 3: "MODS",
    1 << 4: "AOUT_SYMS",
    1 << 5: "ELF_SHDR",
    1 << 6: "MEM_MAP",
    1 << 7: "DRIVE_INFO",
    1 << 8: "CONFIG_TABLE",
    1 << 9: "BOOT_LOADER_NAME",
    1 << 10: "APM_TABLE",
    1 << 11: "VBE_INFO",
    1 << 12: "FRAMEBUFFER_INFO",
}

MULTIBOOT2_HEADER_TAGS: dict[int, str] = {
    0: "END",
    1: "INFORMATION_REQUEST",
    2: "ADDRESS",
    3: "ENTRY_ADDRESS",
    4: "CONSOLE_FLAGS",
    5: "FRAMEBUFFER",
    6: "MODULE_ALIGN",
    7: "EFI_BS",
    8: "ENTRY_ADDRESS_EFI32",
    9: "ENTRY_ADDRESS_EFI64",
    10: "RELOCATABLE",
}

MULTIBOOT2_TAGS: dict[int, str] = {
    0: "END",
    1: "CMDLINE",
    2: "BOOT_LOADER_NAME",
    3: "MODULE",
    4: "BASIC_MEMINFO",
    5: "BOOTDEV",
    6: "MMAP",
    7: "VBE",
    8: "FRAMEBUFFER",
    9: "ELF_SECTIONS",
    10: "APM",
    11: "EFI32",
    12: "EFI64",
    13: "SMBIOS",
    14: "ACPI_OLD",
    15: "ACPI_NEW",
    16: "NETWORK",
    17: "EFI_MMAP",
    18: "EFI_BS",
    19: "EFI32_IH",
    20: "EFI64_IH",
    21: "LOAD_BASE_ADDR",
}

MEMORY_TYPES: dict[int, str] = {1: "AVAILABLE", 2: "RESERVED", 3: "ACPI_RECLAIMABLE", 4: "NVS", 5: "BADRAM"}
"""Of the memory maps of both versions."""


class MultibootHeader(Layout):
    """The header in the image (section 3.1.1). The address fields count only with bit 16 of `flags`, the graphics
    fields only with bit 2.
    """

    SIZE = 48

    magic: int = u32(0)
    flags: int = u32(4)
    checksum: int = u32(8)
    header_addr: int = u32(12)
    load_addr: int = u32(16)
    load_end_addr: int = u32(20)
    bss_end_addr: int = u32(24)
    entry_addr: int = u32(28)
    mode_type: int = u32(32)
    width: int = u32(36)
    height: int = u32(40)
    depth: int = u32(44)


class MultibootElfSections(Layout):
    """`syms` when flags bit 5 is set: the kernel's ELF section header table."""

    SIZE = 16

    num: int = u32(0)
    size: int = u32(4)
    addr: int = u32(8)
    shndx: int = u32(12)


class MultibootInfo(Layout):
    """The information structure behind EBX (section 3.3). Which fields count is in `flags` (MULTIBOOT_INFO_FLAGS)."""

    SIZE = 116

    flags: int = u32(0)
    mem_lower: int = u32(4)
    mem_upper: int = u32(8)
    boot_device: int = u32(12)
    cmdline: int = u32(16)
    mods_count: int = u32(20)
    mods_addr: int = u32(24)
    syms: MultibootElfSections = part(28, MultibootElfSections)
    mmap_length: int = u32(44)
    mmap_addr: int = u32(48)
    drives_length: int = u32(52)
    drives_addr: int = u32(56)
    config_table: int = u32(60)
    boot_loader_name: int = u32(64)
    apm_table: int = u32(68)
    vbe_control_info: int = u32(72)
    vbe_mode_info: int = u32(76)
    vbe_mode: int = u16(80)
    vbe_interface_seg: int = u16(82)
    vbe_interface_off: int = u16(84)
    vbe_interface_len: int = u16(86)
    framebuffer_addr: int = u64(88)
    framebuffer_pitch: int = u32(96)
    framebuffer_width: int = u32(100)
    framebuffer_height: int = u32(104)
    framebuffer_bpp: int = u8(108)
    framebuffer_type: int = u8(109)
    color_info: bytes = array(110, 6)


class MultibootModule(Layout):
    """One entry at `mods_addr`; `mod_end` is the first address after the module."""

    SIZE = 16

    mod_start: int = u32(0)
    mod_end: int = u32(4)
    string: int = u32(8)
    reserved: int = u32(12)


class MultibootMmapEntry(Layout):
    """One entry at `mmap_addr`. `size` counts what follows it, so the next entry is `size + 4` bytes on."""

    SIZE = 24

    size: int = u32(0)
    base_addr: int = u64(4)
    length: int = u64(12)
    type: int = u32(20)


class Multiboot2Header(Layout):
    """The fixed part of the header in the image; tags follow up to `header_length` (section 3.1.2)."""

    SIZE = 16

    magic: int = u32(0)
    architecture: int = u32(4)
    header_length: int = u32(8)
    checksum: int = u32(12)


class Multiboot2HeaderTag(Layout):
    """The head of every header tag; bit 0 of `flags` makes it optional. Tags start on 8-byte boundaries."""

    SIZE = 8

    type: int = u16(0)
    flags: int = u16(2)
    size: int = u32(4)


class Multiboot2HeaderAddress(Layout):
    """ADDRESS header tag, its head left out (section 3.1.5)."""

    SIZE = 16

    header_addr: int = u32(0)
    load_addr: int = u32(4)
    load_end_addr: int = u32(8)
    bss_end_addr: int = u32(12)


class Multiboot2HeaderEntry(Layout):
    """ENTRY_ADDRESS header tag and those for EFI, its head left out (sections 3.1.6 to 3.1.8)."""

    SIZE = 4

    entry_addr: int = u32(0)


class Multiboot2HeaderConsole(Layout):
    """CONSOLE_FLAGS header tag, its head left out (section 3.1.9)."""

    SIZE = 4

    console_flags: int = u32(0)


class Multiboot2HeaderRelocatable(Layout):
    """RELOCATABLE header tag, its head left out (section 3.1.12)."""

    SIZE = 16

    min_addr: int = u32(0)
    max_addr: int = u32(4)
    align: int = u32(8)
    preference: int = u32(12)


class Multiboot2Info(Layout):
    """The fixed part of the information behind EBX; tags follow up to `total_size` (section 3.6.1)."""

    SIZE = 8

    total_size: int = u32(0)
    reserved: int = u32(4)


class Multiboot2Tag(Layout):
    """The head of every information tag; `size` counts it. Tags start on 8-byte boundaries (section 3.6.2)."""

    SIZE = 8

    type: int = u32(0)
    size: int = u32(4)


class Multiboot2Module(Multiboot2Tag):
    """MODULE: the string follows."""

    SIZE = 16

    mod_start: int = u32(8)
    mod_end: int = u32(12)


class Multiboot2BasicMeminfo(Multiboot2Tag):
    """BASIC_MEMINFO: kilobytes below 640 KiB and above 1 MiB."""

    SIZE = 16

    mem_lower: int = u32(8)
    mem_upper: int = u32(12)


class Multiboot2ElfSections(Multiboot2Tag):
    """ELF_SECTIONS: section headers of `entsize` bytes follow. The specification's drawing (3.6.7) has 16-bit numbers, and its
    multiboot2.h, which kernels and boot loaders are built with, has these.
    """

    SIZE = 20

    num: int = u32(8)
    entsize: int = u32(12)
    shndx: int = u32(16)


class Multiboot2Mmap(Multiboot2Tag):
    """MMAP: entries of `entry_size` bytes follow."""

    SIZE = 16

    entry_size: int = u32(8)
    entry_version: int = u32(12)


class Multiboot2MmapEntry(Layout):
    """One entry of MMAP."""

    SIZE = 24

    base_addr: int = u64(0)
    length: int = u64(8)
    type: int = u32(16)
    reserved: int = u32(20)


class Multiboot2Framebuffer(Multiboot2Tag):
    """FRAMEBUFFER: colour information by `framebuffer_type` follows (section 3.6.12)."""

    SIZE = 32

    framebuffer_addr: int = u64(8)
    framebuffer_pitch: int = u32(16)
    framebuffer_width: int = u32(20)
    framebuffer_height: int = u32(24)
    framebuffer_bpp: int = u8(28)
    framebuffer_type: int = u8(29)
    reserved: int = u16(30)


class Multiboot2Pointer32(Multiboot2Tag):
    """EFI32, EFI32_IH, LOAD_BASE_ADDR: one 32-bit address."""

    SIZE = 12

    pointer: int = u32(8)


class Multiboot2Pointer64(Multiboot2Tag):
    """EFI64, EFI64_IH: one 64-bit address."""

    SIZE = 16

    pointer: int = u64(8)


class Multiboot2EfiMmap(Multiboot2Tag):
    """EFI_MMAP: EFI memory descriptors of `descriptor_size` bytes follow."""

    SIZE = 16

    descriptor_size: int = u32(8)
    descriptor_version: int = u32(12)
