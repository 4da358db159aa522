"""Multiboot structures against the offset tables of their specifications."""

from __future__ import annotations

import struct

from efishim.wire import multiboot as mb


def test_multiboot_1_information_as_drawn_in_section_3_3() -> None:
    raw = bytearray(mb.MultibootInfo.SIZE)
    for offset, form, value in [
        (0, "I", 0x1FFF), (4, "I", 639), (8, "I", 0x1FB80), (12, "I", 0x8000FFFF), (16, "I", 0x9000), (20, "I", 2),
        (24, "I", 0xA000), (28, "I", 11), (40, "I", 10), (44, "I", 144), (48, "I", 0xB000), (52, "I", 5), (56, "I", 6),
        (60, "I", 7), (64, "I", 0xC000), (68, "I", 8), (72, "I", 0xD000), (76, "I", 0xE000), (80, "H", 0x118),
        (82, "H", 0xC000), (84, "H", 0x10), (86, "H", 0x20), (88, "Q", 0xFD000000), (96, "I", 4096), (100, "I", 1024),
        (104, "I", 768), (108, "B", 32), (109, "B", 1), (110, "6s", b"abcdef"),
    ]:  # fmt: skip
        struct.pack_into("<" + form, raw, offset, value)
    info = mb.MultibootInfo.parse(raw)
    assert (info.flags, info.mem_lower, info.mem_upper, info.boot_device) == (0x1FFF, 639, 0x1FB80, 0x8000FFFF)
    assert (info.cmdline, info.mods_count, info.mods_addr) == (0x9000, 2, 0xA000)
    assert (info.syms.num, info.syms.shndx) == (11, 10)
    assert (info.mmap_length, info.mmap_addr, info.drives_length, info.drives_addr) == (144, 0xB000, 5, 6)
    assert (info.config_table, info.boot_loader_name, info.apm_table) == (7, 0xC000, 8)
    assert (info.vbe_control_info, info.vbe_mode_info, info.vbe_mode) == (0xD000, 0xE000, 0x118)
    assert (info.vbe_interface_seg, info.vbe_interface_off, info.vbe_interface_len) == (0xC000, 0x10, 0x20)
    assert (info.framebuffer_addr, info.framebuffer_pitch) == (0xFD000000, 4096)
    assert (info.framebuffer_width, info.framebuffer_height) == (1024, 768)
    assert (info.framebuffer_bpp, info.framebuffer_type, info.color_info) == (32, 1, b"abcdef")


def test_multiboot_1_memory_map_entries_begin_with_their_own_size() -> None:
    entry = mb.MultibootMmapEntry.parse(struct.pack("<IQQI", 20, 0x100000, 0x7EE0000, 1))
    assert (entry.size, entry.base_addr, entry.length, entry.type) == (20, 0x100000, 0x7EE0000, 1)
    assert entry.size + 4 == entry.SIZE


def test_multiboot_1_header_and_module() -> None:
    magic, flags = mb.MULTIBOOT_HEADER_MAGIC, 0x10003
    raw = struct.pack("<12I", magic, flags, -(magic + flags) & 0xFFFFFFFF, *range(1, 10))
    header = mb.MultibootHeader.parse(raw)
    assert (header.magic + header.flags + header.checksum) & 0xFFFFFFFF == 0
    assert (header.header_addr, header.entry_addr, header.mode_type, header.depth) == (1, 5, 6, 9)
    module = mb.MultibootModule.parse(struct.pack("<4I", 0x200000, 0x2A0000, 0x9100, 0))
    assert (module.mod_start, module.mod_end, module.string) == (0x200000, 0x2A0000, 0x9100)


def test_multiboot_2_header() -> None:
    magic, architecture, length = mb.MULTIBOOT2_HEADER_MAGIC, 0, 24
    header = mb.Multiboot2Header.parse(struct.pack("<4I", magic, architecture, length, -(magic + length) & 0xFFFFFFFF))
    assert (header.magic + header.architecture + header.header_length + header.checksum) & 0xFFFFFFFF == 0
    tag = mb.Multiboot2HeaderTag.parse(struct.pack("<HHI", 10, 1, 24))
    assert (mb.MULTIBOOT2_HEADER_TAGS[tag.type], tag.flags, tag.size) == ("RELOCATABLE", 1, 24)
    place = mb.Multiboot2HeaderRelocatable.parse(struct.pack("<4I", 0x100000, 0x7FFFFFFF, 0x200000, 2))
    assert (place.min_addr, place.max_addr, place.align, place.preference) == (0x100000, 0x7FFFFFFF, 0x200000, 2)


def test_multiboot_2_tags_of_section_3_6() -> None:
    mmap = mb.Multiboot2Mmap.parse(struct.pack("<4I", 6, 40, 24, 0))
    assert (mb.MULTIBOOT2_TAGS[mmap.type], mmap.entry_size, mmap.entry_version) == ("MMAP", 24, 0)
    entry = mb.Multiboot2MmapEntry.parse(struct.pack("<QQII", 0, 0x9FC00, 1, 0))
    assert (entry.base_addr, entry.length, mb.MEMORY_TYPES[entry.type]) == (0, 0x9FC00, "AVAILABLE")
    module = mb.Multiboot2Module.parse(struct.pack("<4I", 3, 18, 0x200000, 0x2A0000))
    assert (mb.MULTIBOOT2_TAGS[module.type], module.mod_start, module.mod_end) == ("MODULE", 0x200000, 0x2A0000)
    screen = mb.Multiboot2Framebuffer.parse(struct.pack("<IIQIIIBBH", 8, 38, 0xFD000000, 4096, 1024, 768, 32, 1, 0))
    assert (screen.framebuffer_addr, screen.framebuffer_height, screen.framebuffer_bpp) == (0xFD000000, 768, 32)
    efi = mb.Multiboot2Pointer64.parse(struct.pack("<IIQ", 12, 16, 0x1_2345_6789))
    assert (mb.MULTIBOOT2_TAGS[efi.type], efi.pointer) == ("EFI64", 0x1_2345_6789)
