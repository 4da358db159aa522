"""The partitions of a disk: the GUID partition table or the MBR (UEFI 2.10, chapter 5)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from efishim.disk.medium import DiskError, Medium
from efishim.wire.disk import (
    BLOCK,
    GPT_ESP,
    GPT_SIGNATURE,
    MBR_ESP,
    MBR_EXTENDED,
    MBR_PROTECTIVE,
    MBR_SIGNATURE,
    GptEntry,
    GptHeader,
    Mbr,
)
from efishim.wire.guids import guid_text

MOST_ENTRIES = 1024
"""Entries of a GPT that are read; tables have 128."""
LARGEST_ENTRY = 4096


@dataclass(frozen=True, slots=True)
class Partition:
    """Blocks `start` to `start + blocks` of a disk. `signature` is the GUID of a GPT's partition, or the MBR's number."""

    number: int
    start: int
    blocks: int
    gpt: bool
    signature: bytes
    system: bool
    """It says of itself that it is an EFI system partition."""


@dataclass(frozen=True, slots=True)
class Table:
    """What was found, and what was wrong with it."""

    partitions: tuple[Partition, ...] = ()
    problems: tuple[str, ...] = ()


def read_partitions(medium: Medium) -> Table:
    """The partitions of a disk; none of one that is a file system as a whole. Never raises for what is on the disk."""
    mbr = Mbr.parse(medium.read(0, BLOCK))
    if mbr.signature != MBR_SIGNATURE:
        return Table()
    if any(one.os_type == MBR_PROTECTIVE for one in mbr.partitions):
        return _gpt(medium)
    found = _mbr(medium, mbr)
    return Table() if found is None else Table(found)


def _mbr(medium: Medium, mbr: Mbr) -> tuple[Partition, ...] | None:
    """None for what only looks like a table: the boot sector of a file system has the same signature (5.2.1)."""
    found: list[Partition] = []
    for number, one in enumerate(mbr.partitions, 1):
        if not one.os_type or not one.size_in_lba or one.os_type in MBR_EXTENDED:
            continue
        end = one.starting_lba + one.size_in_lba
        if not one.starting_lba or end > medium.blocks:
            return None
        signature, system = mbr.unique_signature.to_bytes(4, "little"), one.os_type == MBR_ESP
        partition = Partition(number, one.starting_lba, one.size_in_lba, gpt=False, signature=signature, system=system)
        if any(_overlap(partition, other) for other in found):
            return None
        found.append(partition)
    return tuple(found)


def _gpt(medium: Medium) -> Table:
    """By the primary table, or by the one at the disk's end where that is damaged (5.3.2)."""
    problems: list[str] = []
    for what, lba in (("primary", 1), ("backup", medium.blocks - 1)):
        try:
            return Table(_gpt_at(medium, lba, problems), tuple(problems))
        except DiskError as error:
            problems.append(f"the {what} GPT at block {lba} is not valid: {error.sentence}")
    return Table((), tuple(problems))


def _gpt_at(medium: Medium, lba: int, problems: list[str]) -> tuple[Partition, ...]:
    raw = medium.read(lba * BLOCK, BLOCK)
    header = GptHeader.parse(raw)
    if header.signature != GPT_SIGNATURE:
        raise DiskError("it has no signature EFI PART")
    if not GptHeader.SIZE <= header.header_size <= BLOCK:
        raise DiskError(f"it says that its header has {header.header_size} bytes")
    crc, whole = header.header_crc32, bytearray(raw[: header.header_size])
    whole[16:20] = bytes(4)
    if zlib.crc32(whole) != crc:
        raise DiskError("the CRC of its header is wrong")
    if header.my_lba != lba:
        raise DiskError(f"it says that it is at block {header.my_lba}")
    size, count = header.size_of_entry, header.number_of_entries
    if not (GptEntry.SIZE <= size <= LARGEST_ENTRY and size % 8 == 0 and count <= MOST_ENTRIES):
        raise DiskError(f"{count} entries of {size} bytes are none that are read")
    table = medium.read(header.partition_entry_lba * BLOCK, size * count)
    if zlib.crc32(table) != header.entries_crc32:
        raise DiskError("the CRC of its entries is wrong")
    found: list[Partition] = []
    for number, one in enumerate(GptEntry.rows(table, size), 1):
        if not any(one.type_guid):
            continue
        inside = header.first_usable_lba <= one.starting_lba <= one.ending_lba <= header.last_usable_lba
        if not inside or one.ending_lba >= medium.blocks:
            problems.append(f"partition {number} of the GPT is not on the disk: its last block is {one.ending_lba}")
            continue
        blocks = one.ending_lba - one.starting_lba + 1
        system = guid_text(one.type_guid) == GPT_ESP
        found.append(Partition(number, one.starting_lba, blocks, gpt=True, signature=one.unique_guid, system=system))
    # EDK II's PartitionCheckGptEntry marks both of two that overlap, and neither becomes a device.
    alone = [one for one in found if not any(other is not one and _overlap(one, other) for other in found)]
    kept = {one.number for one in alone}
    problems += [f"partition {one.number} of the GPT overlaps another one" for one in found if one.number not in kept]
    return tuple(alone)


def _overlap(one: Partition, other: Partition) -> bool:
    return one.start < other.start + other.blocks and other.start < one.start + one.blocks
