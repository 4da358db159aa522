"""Partition tables, whole and damaged."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from efishim.disk.medium import Medium
from efishim.disk.partitions import Table, read_partitions
from efishim.wire.disk import (
    BLOCK,
    GPT_ESP,
    GPT_SIGNATURE,
    MBR_ESP,
    MBR_PROTECTIVE,
    MBR_SIGNATURE,
    GptEntry,
    GptHeader,
    Mbr,
    MbrPartition,
)
from efishim.wire.guids import guid_bytes

BLOCKS = 128


def mbr(*rows: tuple[int, int, int]) -> bytes:
    """(type, first block, blocks) of each partition."""
    table = Mbr(signature=MBR_SIGNATURE, unique_signature=0x12345678)
    for number, (kind, start, size) in enumerate(rows):
        table.partitions[number] = MbrPartition(os_type=kind, starting_lba=start, size_in_lba=size)
    return table.build()


def gpt(entries: list[GptEntry] | None = None, **changes: Any) -> bytearray:
    """A disk with both tables; `changes` are fields of the headers, whose CRC is right all the same."""
    if entries is None:
        entries = [GptEntry(type_guid=guid_bytes(GPT_ESP), unique_guid=b"u" * 16, starting_lba=40, ending_lba=59)]
    table = b"".join(one.build() for one in entries).ljust(128 * 4, b"\0")
    disk = bytearray(BLOCKS * BLOCK)
    disk[:BLOCK] = mbr((MBR_PROTECTIVE, 1, BLOCKS - 1))
    for mine, other, at in ((1, BLOCKS - 1, 2), (BLOCKS - 1, 1, BLOCKS - 2)):
        fields: dict[str, Any] = {
            "header_size": 92,
            "my_lba": mine,
            "alternate_lba": other,
            "first_usable_lba": 34,
            "last_usable_lba": BLOCKS - 3,
            "partition_entry_lba": at,
            "number_of_entries": 4,
            "size_of_entry": 128,
            "entries_crc32": zlib.crc32(table),
        }
        header = GptHeader(signature=GPT_SIGNATURE, revision=0x10000, **fields | changes)
        header.header_crc32 = zlib.crc32(header.build())
        disk[mine * BLOCK : mine * BLOCK + 92] = header.build()
        disk[at * BLOCK : at * BLOCK + len(table)] = table
    return disk


def read(disk: bytes | bytearray) -> Table:
    return read_partitions(Medium(bytes(disk)))


def places(table: Table) -> list[tuple[int, int, int, bool]]:
    return [(one.number, one.start, one.blocks, one.system) for one in table.partitions]


def test_an_mbr_has_its_primary_partitions() -> None:
    disk = mbr((0x83, 1, 10), (MBR_ESP, 11, 20), (0x05, 31, 20)).ljust(BLOCKS * BLOCK, b"\0")
    table = read(disk)
    assert places(table) == [(1, 1, 10, False), (2, 11, 20, True)], "extended ones are left out"
    assert {one.signature for one in table.partitions} == {b"\x78\x56\x34\x12"}


@pytest.mark.parametrize("rows", [((0x83, 1, BLOCKS),), ((0x83, 0, 5),), ((0x83, 1, 10), (0x83, 5, 10))])
def test_what_only_looks_like_an_mbr_is_none(rows: tuple[tuple[int, int, int], ...]) -> None:
    assert places(read(mbr(*rows).ljust(BLOCKS * BLOCK, b"\0"))) == []


def test_no_signature_is_no_table() -> None:
    assert read(bytes(BLOCKS * BLOCK)) == Table()


def test_a_gpt_is_read() -> None:
    table = read(gpt())
    assert places(table) == [(1, 40, 20, True)]
    assert table.partitions[0].signature == b"u" * 16
    assert not table.problems


def test_a_damaged_primary_table_gives_way_to_the_backup_and_is_named() -> None:
    disk = gpt()
    disk[BLOCK + 20] ^= 1
    table = read(disk)
    assert places(table) == [(1, 40, 20, True)]
    assert table.problems == ("the primary GPT at block 1 is not valid: the CRC of its header is wrong",)


def test_with_both_tables_damaged_there_is_no_partition() -> None:
    disk = gpt()
    disk[2 * BLOCK] ^= 1
    disk[(BLOCKS - 2) * BLOCK] ^= 1
    table = read(disk)
    assert table.partitions == ()
    assert [one.rpartition(": ")[2] for one in table.problems] == ["the CRC of its entries is wrong"] * 2


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"header_size": 4096}, "its header has 4096 bytes"),
        ({"number_of_entries": 1 << 31}, "none that are read"),
        ({"size_of_entry": 0}, "none that are read"),
        ({"partition_entry_lba": 1 << 60}, "behind the end"),
        ({"my_lba": 7}, "it says that it is at block 7"),
    ],
)
def test_a_header_that_lies_is_not_followed(changes: dict[str, Any], sentence: str) -> None:
    table = read(gpt(**changes))
    assert table.partitions == ()
    assert all(sentence in one for one in table.problems)
    assert len(table.problems) == 2


@pytest.mark.parametrize(("start", "end"), [(60, 40), (2, 10), (40, BLOCKS - 1), (40, 1 << 62)])
def test_a_partition_outside_of_what_may_be_used_is_left_out(start: int, end: int) -> None:
    bad = GptEntry(type_guid=guid_bytes(GPT_ESP), starting_lba=start, ending_lba=end)
    good = GptEntry(type_guid=guid_bytes(GPT_ESP), starting_lba=70, ending_lba=79)
    table = read(gpt([bad, good]))
    assert places(table) == [(2, 70, 10, True)]
    assert table.problems == (f"partition 1 of the GPT is not on the disk: its last block is {end}",)


def test_partitions_that_overlap_are_all_left_out() -> None:
    places_of = ((40, 49), (49, 60), (70, 79), (61, 69))
    rows = [GptEntry(type_guid=guid_bytes(GPT_ESP), starting_lba=start, ending_lba=end) for start, end in places_of]
    table = read(gpt(rows))
    assert places(table) == [(3, 70, 10, True), (4, 61, 9, True)], "neighbours do not overlap"
    assert table.problems == tuple(f"partition {number} of the GPT overlaps another one" for number in (1, 2))
