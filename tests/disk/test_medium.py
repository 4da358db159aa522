"""The blocks of a disk, and what is written over them."""

from __future__ import annotations

import pytest

from efishim.disk.medium import DiskError, Medium

IMAGE = bytes(range(256)) * 8  # four blocks


def test_what_is_read_is_the_image_without_a_part_of_a_block_at_its_end() -> None:
    medium = Medium(IMAGE + b"rest")
    assert (medium.blocks, medium.size) == (4, 2048)
    assert medium.read(100, 700) == IMAGE[100:800]
    with pytest.raises(DiskError, match="behind the end"):
        medium.read(2048, 1)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (0, 2049), (0, -1), (1 << 70, 1)])
def test_nothing_outside_is_read(offset: int, size: int) -> None:
    with pytest.raises(DiskError):
        Medium(IMAGE).read(offset, size)


def test_writing_changes_what_is_read_and_never_the_image() -> None:
    medium = Medium(IMAGE, writable=True)
    medium.write(500, b"x" * 600)
    assert medium.read(0, 2048) == IMAGE[:500] + b"x" * 600 + IMAGE[1100:]
    assert Medium(IMAGE).read(0, 2048) == IMAGE
    with pytest.raises(DiskError, match="do not fit"):
        medium.write(2040, b"123456789")


def test_a_disk_is_read_only_unless_asked() -> None:
    with pytest.raises(DiskError, match="read-only"):
        Medium(IMAGE).write(0, b"x")


def test_less_than_a_block_is_no_disk() -> None:
    with pytest.raises(DiskError, match="not one block"):
        Medium(b"x" * 511)
