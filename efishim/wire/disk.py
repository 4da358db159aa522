"""Partition tables: the MBR and the GUID partition table (UEFI 2.10, chapter 5)."""

from __future__ import annotations

from efishim.wire.layout import Layout, array, parts, u8, u16, u32, u64

BLOCK = 512

MBR_SIGNATURE = 0xAA55
MBR_EXTENDED = (0x05, 0x0F, 0x85)
"""Types of extended partitions, whose logical ones are left out."""
MBR_ESP, MBR_PROTECTIVE = 0xEF, 0xEE
"""OSTypes that UEFI defines (5.2.2)."""


class MbrPartition(Layout):
    """Partition record of the MBR (table 5.2)."""

    SIZE = 16

    boot_indicator: int = u8(0)
    starting_chs: bytes = array(1, 3)
    os_type: int = u8(4)
    ending_chs: bytes = array(5, 3)
    starting_lba: int = u32(8)
    size_in_lba: int = u32(12)


class Mbr(Layout):
    """Master boot record (table 5.1)."""

    SIZE = 512

    boot_code: bytes = array(0, 440)
    unique_signature: int = u32(440)
    unknown: int = u16(444)
    partitions: list[MbrPartition] = parts(446, MbrPartition, 4)
    signature: int = u16(510)


GPT_SIGNATURE = b"EFI PART"
GPT_REVISION = 0x10000
GPT_ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
"""Partition type of an EFI system partition (table 5.7)."""


class GptHeader(Layout):
    """GPT header (table 5.5); its CRC is over `header_size` bytes with the CRC's own four as zero."""

    SIZE = 92

    signature: bytes = array(0, 8)
    revision: int = u32(8)
    header_size: int = u32(12)
    header_crc32: int = u32(16)
    reserved: int = u32(20)
    my_lba: int = u64(24)
    alternate_lba: int = u64(32)
    first_usable_lba: int = u64(40)
    last_usable_lba: int = u64(48)
    disk_guid: bytes = array(56, 16)
    partition_entry_lba: int = u64(72)
    number_of_entries: int = u32(80)
    size_of_entry: int = u32(84)
    entries_crc32: int = u32(88)


class GptEntry(Layout):
    """GPT partition entry (table 5.6)."""

    SIZE = 128

    type_guid: bytes = array(0, 16)
    unique_guid: bytes = array(16, 16)
    starting_lba: int = u64(32)
    ending_lba: int = u64(40)
    attributes: int = u64(48)
    name: bytes = array(56, 72)
