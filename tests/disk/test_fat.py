"""FAT volumes that are damaged, and the two older kinds. Whole FAT32 volumes are read in test_make.py."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.disk.fat import ENTRY_COST, FatVolume, File
from efishim.disk.make import make_volume
from efishim.disk.medium import DiskError, Medium
from efishim.wire.fat import ARCHIVE, DIRECTORY, BootSector, DirectoryEntry

CONTENT = bytes(range(256)) * 9


def small(bits: int, *, fat: dict[int, int], root: bytes, data: bytes = b"", **changes: Any) -> bytes:
    """A FAT12 or FAT16 volume of clusters of one sector; `fat` says what follows a cluster."""
    clusters = 100 if bits == 12 else 4200
    sectors = -(-(clusters + 2) * bits // 8 // 512)
    fields: dict[str, Any] = {
        "bytes_per_sector": 512,
        "sectors_per_cluster": 1,
        "reserved_sectors": 1,
        "fats": 1,
        "root_entries": 16,
        "total_sectors_16": 1 + sectors + 1 + clusters,
        "fat_size_16": sectors,
        "signature": 0xAA55,
    }
    number = 0
    for cluster, following in fat.items():
        number |= following << cluster * bits
    table = number.to_bytes(sectors * 512, "little")
    boot = BootSector(**fields | changes).build()
    return boot + table + root.ljust(512, b"\0") + data.ljust(clusters * 512, b"\0")


def entry(name: bytes, cluster: int, size: int, attributes: int = ARCHIVE) -> bytes:
    return DirectoryEntry(name=name, attributes=attributes, cluster_low=cluster, size=size).build()


def opened(data: bytes) -> FatVolume:
    return FatVolume(Medium(data), 0, len(data) // 512)


def the(volume: FatVolume, path: str) -> File:
    found = volume.find(path)
    assert found is not None
    return found


@pytest.mark.parametrize(("bits", "last"), [(12, 0xFFF), (16, 0xFFFF)])
def test_the_older_kinds_are_read(bits: int, last: int) -> None:
    root = entry(b"A       TXT", 2, 1000) + entry(b"DIR        ", 5, 0, DIRECTORY)
    data = b"x" * 512 + bytes(512) + b"y" * 512 + entry(b"B          ", 3, 3)
    volume = opened(small(bits, fat={2: 4, 4: last, 5: last, 3: last}, root=root, data=data))
    assert volume.bits == bits
    assert volume.read(the(volume, "\\a.txt")) == b"x" * 512 + b"y" * 488
    assert volume.read(the(volume, "\\DIR\\B")) == bytes(3)
    assert volume.find("\\dir\\c") is None
    assert volume.find("\\a.txt\\b") is None, "a file has nothing in it"


@pytest.mark.parametrize(
    ("fat", "size", "sentence"),
    [
        ({2: 0}, 1000, "continues in cluster 0x0"),
        ({2: 0xF00}, 1000, "continues in cluster 0xf00"),
        ({2: 0xFFF}, 1000, "is 488 bytes shorter"),
        ({2: 0xFFF}, 1 << 31, "more than its FAT volume"),
    ],
)
def test_a_file_that_cannot_be_followed_is_one_sentence(fat: dict[int, int], size: int, sentence: str) -> None:
    volume = opened(small(12, fat=fat, root=entry(b"A       TXT", 2, size)))
    with pytest.raises(DiskError, match=sentence):
        volume.read(the(volume, "\\a.txt"))


def test_a_file_that_goes_round_in_a_loop_ends() -> None:
    volume = opened(small(12, fat={2: 3, 3: 2}, root=b""))
    with pytest.raises(DiskError, match="has a cluster chain that loops"):
        list(volume.chain(2))


def test_a_directory_that_goes_round_in_a_loop_ends() -> None:
    full = entry(b"A          ", 0, 0) * 16
    volume = opened(small(12, fat={2: 2}, root=entry(b"D          ", 2, 0, DIRECTORY), data=full))
    with pytest.raises(DiskError, match="loop"):
        volume.files(the(volume, "\\d"))


def test_what_is_walked_is_told_before_it_is_done() -> None:
    inside = entry(b"D          ", 2, 0, DIRECTORY) + entry(b"E          ", 0, 0) * 15
    data = small(12, fat={2: 3, 3: 0xFFF}, root=inside, data=inside * 2)
    told: list[int] = []
    volume = FatVolume(Medium(data), 0, len(data) // 512, told.append)
    assert not told, "a volume that nobody reads is no work"
    assert volume.find("\\d\\e") is not None
    assert sum(told) == ENTRY_COST * (16 + 32) + 1
    told.clear()
    assert len(list(volume.chain(2))) == 2
    assert told == [1]


def test_a_directory_that_is_its_own_parent_is_no_loop_for_a_path() -> None:
    inside = entry(b"D          ", 2, 0, DIRECTORY)
    volume = opened(small(12, fat={2: 0xFFF}, root=inside, data=inside))
    assert volume.find("\\d" * 50 + "\\x") is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"signature": 0}, "no FAT boot sector"),
        ({"bytes_per_sector": 0}, "no FAT boot sector"),
        ({"bytes_per_sector": 513}, "no FAT boot sector"),
        ({"sectors_per_cluster": 3}, "describes no volume"),
        ({"fats": 0}, "describes no volume"),
        ({"fat_size_16": 0}, "no room for data"),
        ({"total_sectors_16": 0}, "no room for data"),
        ({"total_sectors_16": 0xFFFF}, "the disk has"),
        ({"total_sectors_16": 0, "total_sectors_32": 0xFFFFFFFF}, "the disk has"),
        ({"root_entries": 0xFFFF}, "no room for data"),
    ],
)
def test_a_boot_sector_that_lies_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DiskError, match=sentence):
        opened(small(12, fat={}, root=b"", **changes))


def test_a_truncated_volume_is_refused() -> None:
    whole = make_volume({"\\a": CONTENT})
    with pytest.raises(DiskError, match="the disk has"):
        opened(whole[: len(whole) // 2])


@pytest.fixture(scope="module")
def whole() -> bytes:
    return small(12, fat={2: 3, 3: 4, 4: 0xFFF}, root=entry(b"A       TXT", 2, 1200) + entry(b"D          ", 3, 0, DIRECTORY))


@given(st.lists(st.tuples(st.integers(0, 2047), st.integers(0, 255)), min_size=1, max_size=20))
def test_no_damage_does_more_than_raise_a_sentence(whole: bytes, damage: list[tuple[int, int]]) -> None:
    data = bytearray(whole)
    for at, byte in damage:
        data[at] = byte
    with suppress(DiskError):
        volume = opened(bytes(data))
        for file in volume.files(volume.root):
            assert len(volume.head(file, 600)) <= 600
            if file.directory:
                volume.files(file)
            else:
                assert len(volume.read(file)) == file.size
