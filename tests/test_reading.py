"""Reading what somebody named: files, and what is none."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from efishim.errors import ImageError
from efishim.reading import read_file


def refused(path: str | Path, limit: int = 100) -> str:
    begun = time.monotonic()
    with pytest.raises(ImageError) as caught:
        read_file(path, limit, "kernel", ImageError)
    assert time.monotonic() - begun < 2
    return caught.value.sentence


def test_a_file_is_read_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_file(path, 100, "kernel", ImageError) == b"x" * 100
    assert "larger than 99 bytes, which no kernel is" in refused(path, 99)


def test_the_size_is_looked_at_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.truncate(1 << 40)  # reading it would take minutes, and all memory
    assert "larger than 1024 MiB" in refused(path, 1 << 30)


def test_what_is_no_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "not a regular file" in refused(fifo)
    assert "not a regular file" in refused("/dev/zero")
    assert "not a regular file" in refused("/dev/null")
    assert "directory" in refused(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        assert "cannot be read" in refused(tmp_path / "socket")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("", "the empty text names no file"),
        ("a\0b", "cannot be used"),
        ("/nowhere/x", "does not exist"),
        ("x" * 5000, "too long"),
    ],
)
def test_a_path_that_leads_nowhere(path: str, sentence: str) -> None:
    assert sentence in refused(path)
