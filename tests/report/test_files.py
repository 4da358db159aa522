"""Result files appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from efishim.report import files
from efishim.report.files import OutputError, write_atomically


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    target.write_bytes(b"old")
    before = target.stat().st_ino
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert target.stat().st_ino != before, "the old file was overwritten in place"
    assert list(tmp_path.iterdir()) == [target]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "x", b"")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_pipe_is_written_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(pipe, b"data")
    assert os.read(reader, 10) == b"data"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    for target in (tmp_path / "none" / "x", tmp_path):
        with pytest.raises(OutputError) as caught:
            write_atomically(target, b"x")
        assert "\n" not in caught.value.sentence
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_midway_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "record.json"
    target.write_bytes(b"old")

    def full(_descriptor: int, _mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", full)
    with pytest.raises(OutputError, match="No space left"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_pipe_without_a_reader_is_not_waited_for_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PATIENCE", 0.2)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="No such device"):
        write_atomically(pipe, b"data")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OutputError, match="it is not being read"):
        write_atomically(pipe, bytes(1 << 20))
    os.close(reader)


def test_a_pipe_takes_more_than_it_holds(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sha256sum", pipe], stdout=subprocess.PIPE) as reader:
        write_atomically(pipe, bytes(3 << 20))
        assert reader.stdout is not None
        assert reader.stdout.read(64).decode() == hashlib.sha256(bytes(3 << 20)).hexdigest()


def test_a_full_device_is_one_sentence() -> None:
    with pytest.raises(OutputError, match="No space left"):
        write_atomically("/dev/full", b"data")


def test_standard_output_is_written_to_where_it_is(tmp_path: Path) -> None:
    """Also when it is a file: neither its name in /dev is replaced, nor what it holds already."""
    code = (
        "import sys; from efishim.report.files import write_atomically; print('one', flush=True);"
        "[write_atomically(name, b'two\\n') for name in ('/dev/stdout', '/dev/fd/1', '/proc/self/fd/1')]; print('three')"
    )
    with (tmp_path / "out").open("wb") as stream:
        subprocess.run([sys.executable, "-c", code], stdout=stream, check=True)
    assert (tmp_path / "out").read_bytes() == b"one\ntwo\ntwo\ntwo\nthree\n"
    assert Path("/dev/stdout").is_symlink()


def test_what_a_link_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", b"data")
    assert (tmp_path / "target").read_bytes() == b"data"
    assert (tmp_path / "link").is_symlink()
