"""The disk that is made for a run, read back as firmware reads it."""

from __future__ import annotations

import pytest

from efishim.disk import make
from efishim.disk.fat import FatVolume
from efishim.disk.make import make_disk, make_volume
from efishim.disk.medium import DiskError, Medium
from efishim.disk.partitions import read_partitions

FILES = {
    "\\EFI\\BOOT\\BOOTX64.EFI": b"MZ" + bytes(3000),
    "\\vmlinuz": bytes(range(256)) * 20,
    "\\loader\\entries\\efishim.conf": b"title x\n",
    "\\a rather long name.txt": b"",
    "\\a rather long name too.txt": b"2",
    "\\exactly13.abc": b"thirteen units, which have no NUL behind them",
}


@pytest.fixture(scope="module")
def volume() -> FatVolume:
    medium = Medium(make_disk(FILES))
    table = read_partitions(medium)
    (partition,) = table.partitions
    assert partition.system
    assert partition.gpt
    assert not table.problems
    return FatVolume(medium, partition.start, partition.blocks)


def test_each_file_is_found_again(volume: FatVolume) -> None:
    for path, data in FILES.items():
        file = volume.find(path)
        assert file is not None, path
        assert volume.read(file) == data
        assert file.name == path.rpartition("\\")[2]
    assert volume.bits == 32
    assert volume.label == "EFISHIM"


def test_names_have_short_ones_of_their_own(volume: FatVolume) -> None:
    names = [one.short_name for one in volume.files(volume.root)]
    assert names == ["EFI", "VMLINUZ", "LOADER", "A_RATH~1.TXT", "A_RATH~2.TXT", "EXACTL~1.ABC"]
    again = volume.find("\\a_rath~2.txt")
    assert again is not None
    assert volume.read(again) == b"2"


def test_the_same_files_make_the_same_disk_and_others_another() -> None:
    one = make_disk({"\\a": b"1"})
    assert make_disk({"\\a": b"1"}) == one
    assert make_disk({"\\a": b"2"})[: 1 << 20] != one[: 1 << 20], "the GUIDs tell disks apart"


def test_many_files_make_a_directory_of_many_clusters() -> None:
    files = {f"\\directory\\a file with number {number}": str(number).encode() for number in range(100)}
    data = make_volume(files)
    volume = FatVolume(Medium(data), 0, len(data) // 512)
    directory = volume.find("\\directory")
    assert directory is not None
    assert [one.name for one in volume.files(directory)] == [f"a file with number {number}" for number in range(100)]
    found = volume.find("\\directory\\a file with number 99")
    assert found is not None
    assert volume.read(found) == b"99"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"\\a:b": b""}, "cannot be a file's name"),
        ({"\\..\\x": b""}, "cannot be a file's name"),
        ({"\\dir\\\\x": b""}, "cannot be a file's name"),
        ({"\\" + "x" * 256: b""}, "cannot be a file's name"),
        ({"\\a": b"", "\\A": b""}, "two files are called"),
        ({"\\a": b"", "\\a\\b": b""}, "lies in a file"),
        ({"\\x\\a": b"", "\\X\\A": b""}, "two files are called"),
        ({"\\a" * 20: b""}, "more than 16 directories"),
        ({f"\\{number}": b"" for number in range(1025)}, "too many"),
    ],
)
def test_what_fat_does_not_take_is_refused(files: dict[str, bytes], sentence: str) -> None:
    with pytest.raises(DiskError, match=sentence):
        make_volume(files)


def test_more_than_a_disk_takes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "LARGEST", 100)
    with pytest.raises(DiskError, match="do not fit"):
        make_volume({"\\a": bytes(51)})
