"""Files and folders for a while: they go with their block, and when the process was killed, with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from efishim.temporary import SUFFIX, folder, partial_file

KILLED = """
import os, sys
from pathlib import Path
from efishim.temporary import folder, partial_file
place = Path(sys.argv[1])
block = partial_file(place) if sys.argv[2] == "file" else folder(".new-", place.parent)
with block as _:
    os.kill(os.getpid(), 9)
"""


def killed(place: Path, what: str) -> None:
    result = subprocess.run([sys.executable, "-c", KILLED, str(place), what], check=False)
    assert result.returncode == -9


def test_a_file_is_there_until_it_is_renamed(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    with partial_file(target) as (stream, temporary):
        assert temporary.parent == tmp_path
        stream.write(b"whole")
        stream.flush()
        temporary.replace(target)
    assert list(tmp_path.iterdir()) == [target]
    with pytest.raises(KeyError), partial_file(target):
        raise KeyError
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_killed_process_left_goes_with_the_next_that_writes_there(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    killed(target, "file")
    assert [one.suffix for one in tmp_path.iterdir()] == [SUFFIX]
    with partial_file(tmp_path / "another.json"):
        assert len(list(tmp_path.iterdir())) == 2, "another file's is nobody's business"
    with partial_file(target) as (_, temporary):
        assert list(tmp_path.iterdir()) == [temporary]
    assert list(tmp_path.iterdir()) == []


def test_in_a_directory_of_ours_all_of_them_go(tmp_path: Path) -> None:
    killed(tmp_path / "one", "file")
    with partial_file(tmp_path / "other", all_ours=True) as (_, temporary):
        assert list(tmp_path.iterdir()) == [temporary]


def test_files_in_use_stay(tmp_path: Path) -> None:
    with partial_file(tmp_path / "x") as (_, one), partial_file(tmp_path / "x") as (_, other):
        assert {one, other} == set(tmp_path.iterdir())


def test_what_is_none_of_ours_stays(tmp_path: Path) -> None:
    (tmp_path / ".x.link.partial").symlink_to("victim")
    (tmp_path / "victim").write_bytes(b"precious")
    os.mkfifo(tmp_path / ".x.fifo.partial")
    (tmp_path / "x.partial").touch()
    before = set(tmp_path.iterdir())
    with partial_file(tmp_path / "x"):
        pass
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_folder_that_a_killed_process_left(tmp_path: Path) -> None:
    killed(tmp_path / "x", "folder")
    assert len(list(tmp_path.glob(".new-*"))) == 1
    with folder(".new-", tmp_path) as one, folder(".new-", tmp_path) as other:
        assert set(tmp_path.iterdir()) == {one, other}
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_there_or_takes_nothing() -> None:
    for place in (Path("/nonexistent/x"), Path("/proc/x"), Path("/dev/null/x")):
        with pytest.raises(OSError), partial_file(place):
            raise AssertionError
