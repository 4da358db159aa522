"""Files of a dump: plain ones with their holes, packed ones, and what is no file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
import zstandard

from efishim.dump.source import PIECE, DumpError, open_source

CONTENT = b"\0" * PIECE + b"here" + b"\0" * (3 * PIECE) + b"there"


@pytest.mark.parametrize(("packed", "pack"), [("", bytes), ("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_file_reads_the_same_however_it_is_packed(packed: str, pack: object, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(pack(CONTENT))  # type: ignore[operator]
    source = open_source(path)
    assert (source.packed, source.size) == (packed, len(CONTENT))
    assert source.read(0, 1 << 30) == CONTENT
    assert source.read(PIECE, 4) == b"here"
    assert source.read(len(CONTENT) - 2, 9) == b"re"
    covered = [offset for offset, size in source.content(0, len(CONTENT)) for offset in (offset, offset + size - 1)]
    assert any(one <= PIECE for one in covered)
    found = b"".join(source.read(offset, size) for offset, size in source.content(PIECE, PIECE))
    assert found.rstrip(b"\0") == b"here"


def test_holes_are_not_content(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.seek(1 << 30)
        stream.write(b"end")
    source = open_source(path)
    content = list(source.content(0, source.size))
    assert sum(size for _, size in content) < 1 << 20, "this file system does not tell of holes"
    assert content[-1][0] + content[-1][1] == source.size
    assert list(source.content(0, 4096)) == []


def test_several_members_are_one_file(tmp_path: Path) -> None:
    for name, pack in (("gz", gzip.compress), ("zst", zstandard.compress)):
        (tmp_path / name).write_bytes(pack(b"one") + pack(b"two"))
        assert open_source(tmp_path / name).read(0, 9) == b"onetwo"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(CONTENT)[:-9], "damaged"),
        (gzip.compress(CONTENT)[:20] + b"\xff" * 20, "damaged"),
        (zstandard.compress(CONTENT)[:6] + b"\xff" * 20, "damaged"),
    ],
)
def test_what_is_damaged_is_said_to_be(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DumpError, match=words):
        open_source(tmp_path / "file")


def test_what_is_no_file_is_said_to_be_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path, "directory"), (tmp_path / "pipe", "pipe"), (tmp_path / "none", "does not exist")):
        with pytest.raises(DumpError, match=words):
            open_source(path)
    with pytest.raises(DumpError, match="cannot be read"):
        open_source("a\0b")
