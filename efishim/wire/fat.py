"""The FAT file system: Microsoft's FAT32 File System Specification 1.03, to which UEFI 2.10 section 13.3 refers."""

from __future__ import annotations

from efishim.wire.layout import Layout, array, u8, u16, u32

BOOT_SIGNATURE = 0xAA55
ENTRY = 32
"""Bytes of a directory entry."""
FREE, LAST = 0xE5, 0x00
"""First byte of a directory entry that is not used; of the first behind which none is."""

READ_ONLY, HIDDEN, SYSTEM, VOLUME_ID, DIRECTORY, ARCHIVE = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
LONG_NAME = READ_ONLY | HIDDEN | SYSTEM | VOLUME_ID
LONG_NAME_MASK = LONG_NAME | DIRECTORY | ARCHIVE
LAST_LONG_ENTRY = 0x40
LOWER_BASE, LOWER_EXTENSION = 0x08, 0x10
"""Bits of NTRes by which Windows keeps short names in lower case."""

FAT12_CLUSTERS, FAT16_CLUSTERS = 4085, 65525
"""A volume with fewer clusters is FAT12, with fewer than the second FAT16 (page 14)."""


class BootSector(Layout):
    """BPB and boot sector as all three kinds have it (page 9); FAT32 goes on with its own fields at 36."""

    SIZE = 512

    jump: bytes = array(0, 3)
    oem_name: bytes = array(3, 8)
    bytes_per_sector: int = u16(11)
    sectors_per_cluster: int = u8(13)
    reserved_sectors: int = u16(14)
    fats: int = u8(16)
    root_entries: int = u16(17)
    total_sectors_16: int = u16(19)
    media: int = u8(21)
    fat_size_16: int = u16(22)
    sectors_per_track: int = u16(24)
    heads: int = u16(26)
    hidden_sectors: int = u32(28)
    total_sectors_32: int = u32(32)
    fat_size_32: int = u32(36)
    extended_flags: int = u16(40)
    version: int = u16(42)
    root_cluster: int = u32(44)
    fs_info: int = u16(48)
    backup_boot_sector: int = u16(50)
    reserved: bytes = array(52, 12)
    drive: int = u8(64)
    reserved1: int = u8(65)
    extended_signature: int = u8(66)
    volume_id: int = u32(67)
    label: bytes = array(71, 11)
    file_system: bytes = array(82, 8)
    code: bytes = array(90, 420)
    signature: int = u16(510)


class FsInfo(Layout):
    """FSInfo sector of FAT32 (page 21)."""

    SIZE = 512

    lead_signature: int = u32(0)
    structure_signature: int = u32(484)
    free_count: int = u32(488)
    next_free: int = u32(492)
    trail_signature: int = u32(508)


FS_INFO = {"lead_signature": 0x41615252, "structure_signature": 0x61417272, "trail_signature": 0xAA550000}


class DirectoryEntry(Layout):
    """Directory entry of a short name (page 23)."""

    SIZE = 32

    name: bytes = array(0, 11)
    attributes: int = u8(11)
    nt_reserved: int = u8(12)
    creation_tenths: int = u8(13)
    creation_time: int = u16(14)
    creation_date: int = u16(16)
    access_date: int = u16(18)
    cluster_high: int = u16(20)
    write_time: int = u16(22)
    write_date: int = u16(24)
    cluster_low: int = u16(26)
    size: int = u32(28)


class LongNameEntry(Layout):
    """Directory entry of a part of a long name (page 28)."""

    SIZE = 32

    order: int = u8(0)
    name1: bytes = array(1, 10)
    attributes: int = u8(11)
    type: int = u8(12)
    checksum: int = u8(13)
    name2: bytes = array(14, 12)
    cluster_low: int = u16(26)
    name3: bytes = array(28, 4)


def checksum(short_name: bytes) -> int:
    """Of the eleven bytes of a short name, which the entries of its long name carry (page 28)."""
    total = 0
    for byte in short_name:
        total = ((total >> 1) + ((total & 1) << 7) + byte) & 0xFF
    return total
