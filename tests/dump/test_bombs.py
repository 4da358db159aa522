"""Dumps that would be much work or much memory: each is refused, or is read as far as the bounds go."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from efishim.dump import opened as dump_opening
from efishim.dump.entry import entry_of
from efishim.dump.found import image_in
from efishim.dump.memory import MAX_RANGES
from efishim.dump.opened import open_dump
from efishim.dump.source import MAX_CONTENT, MAX_UNPACKED, open_source
from efishim.image.entries import Entry
from efishim.lab.abi.of_dump import check_dump
from tests.image.test_bombs import cost
from tests.support.cores import MIB, Core, described, stopped

pytestmark = [pytest.mark.slow, pytest.mark.unmeasured]


def opened(path: Path) -> Callable[[], object]:
    """Everything that `efishim check` and the plan of a run look at."""

    def work() -> None:
        dump = open_dump(path)
        entry = entry_of(dump)
        check_dump(dump, entry)
        image_in(dump, entry)
        image_in(dump, Entry.PVH)

    return work


def packed(path: Path, pack: str, size: int, content: bytes = bytes(MIB)) -> Path:
    """A file that unpacks to so many bytes, made without having them: of members that are the same."""
    one = gzip.compress(content, 1) if pack == "gzip" else zstandard.compress(content, 1)
    path.write_bytes(one * (size // len(content)))
    return path


@pytest.mark.parametrize("pack", ["gzip", "zstd"])
def test_a_file_that_unpacks_to_too_much(pack: str, tmp_path: Path) -> None:
    path = packed(tmp_path / "bomb", pack, MAX_UNPACKED + 2 * MIB)
    assert f"unpacks to more than {MAX_UNPACKED >> 20} MiB" in cost(lambda: open_source(path))


def test_a_file_with_too_much_content(tmp_path: Path) -> None:
    path = packed(tmp_path / "bomb", "zstd", MAX_CONTENT + 2 * MIB, b"\1" * MIB)
    assert f"more than {MAX_CONTENT >> 20} MiB that are not zero" in cost(lambda: open_source(path))


def test_a_window_of_gigabytes(tmp_path: Path) -> None:
    """RFC 8878, section 3.1.1.1.2: the window's exponent is 31, and 10 is added to it."""
    (tmp_path / "bomb").write_bytes(b"\x28\xb5\x2f\xfd" + bytes([0x00, 31 << 3]) + bytes(64))
    assert "damaged" in cost(lambda: open_source(tmp_path / "bomb"))


def test_a_sparse_core_of_a_terabyte(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    huge = replace(one, ranges=(*one.ranges, (1 << 40, 1 << 40)))
    path = Core(huge, machine=62).write(tmp_path / "core")
    assert path.stat().st_size > 1 << 40
    assert cost(opened(path)) == ""


def test_ranges_without_a_file_may_be_large(tmp_path: Path) -> None:
    path = described(stopped("kexec", "linux64"), tmp_path)
    path.write_text(path.read_text() + "\n[[memory]]\nstart = 0x10000000000\nsize = 0x10000000000\n")
    assert cost(opened(path)) == ""


def test_more_parts_than_a_dump_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on stored bytes and parts, lower: a file of 4 GiB is not written for it."""
    path = Core(stopped("kexec", "linux64"), machine=62).write(tmp_path / "core")
    monkeypatch.setattr(dump_opening, "MAX_PARTS", 1)
    assert "has more than 1 parts with holes between them" in cost(opened(path))
    monkeypatch.setattr(dump_opening, "MAX_STORED", MIB // 16)
    assert "has more than 0 MiB of memory" in cost(opened(path))


def test_thousands_of_ranges(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    many = [((1 << 32) + n * 0x2000, 0x1000) for n in range(MAX_RANGES)]
    path = Core(replace(one, ranges=(*one.ranges, *many[:4000]))).write(tmp_path / "core")
    assert cost(opened(path)) == ""
    path = described(one, tmp_path)
    text = "\n".join(f"[[memory]]\nstart = {start}\nsize = {size}" for start, size in many)
    path.write_text(f"{path.read_text()}\n{text}\n")
    assert "is not a list of at most" in cost(opened(path))


def test_a_note_that_is_everywhere(tmp_path: Path) -> None:
    """8 MiB of nothing but PVH notes."""
    note = bytes.fromhex("04000000 08000000 12000000 58656e00") + bytes(8)
    one = stopped("hvmlite", "pvh")
    path = Core(replace(one, memory={**one.memory, 0x200_0000: note * (8 * MIB // len(note))})).write(tmp_path / "core")
    assert cost(opened(path)) == ""
