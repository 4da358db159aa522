"""Files and folders for a while: they go with their block, and when the process was killed, with the next one."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from efishim.temporary import LOCK, SUFFIX, folder, partial_file

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
    (tmp_path / ".x.linklink.partial").symlink_to("victim")
    (tmp_path / "victim").write_bytes(b"precious")
    os.mkfifo(tmp_path / ".x.fifofifo.partial")
    with os.fdopen(os.open(tmp_path / ".x.fifofifo.partial", os.O_RDONLY | os.O_NONBLOCK)):
        for name in ("x.partial", ".x.partial", ".x..partial", ".x.holiday.partial", ".holiday.partial", ".x.Abcdefgh.partial"):
            (tmp_path / name).touch()
        before = set(tmp_path.iterdir())
        for all_ours in (False, True):
            with partial_file(tmp_path / "x", all_ours=all_ours):
                pass
            assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    killed(tmp_path / "axb", "file")
    killed(tmp_path / "line\nfeed", "file")
    for name in ("a.b", "line"):
        with partial_file(tmp_path / name):
            assert len(list(tmp_path.iterdir())) == 3
    for name, left in (("line\nfeed", 1), ("axb", 0)):
        with partial_file(tmp_path / name):
            pass
        assert len(list(tmp_path.iterdir())) == left


def test_a_new_file_that_somebody_takes_for_stale_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tempfile.mkstemp
    made: list[tuple[int, Path]] = []

    def seen(**words: Any) -> tuple[int, str]:
        """Somebody else has the first one locked, and the second is removed already."""
        descriptor, name = real(**words)
        made.append((os.open(name, os.O_WRONLY), Path(name)))
        if len(made) == 1:
            fcntl.flock(made[0][0], fcntl.LOCK_EX)
        elif len(made) == 2:
            Path(name).unlink()
        return descriptor, name

    monkeypatch.setattr(tempfile, "mkstemp", seen)
    with partial_file(tmp_path / "x") as (_, temporary):
        assert [name for _, name in made].index(temporary) == 2
    for descriptor, _ in made:
        os.close(descriptor)


def test_without_locks_a_file_is_written_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with partial_file(tmp_path / "x") as (_, temporary):
        assert temporary.exists()


def test_a_new_folder_that_somebody_takes_for_stale_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.flock
    taken: list[Path] = []

    def late(lock: Any, how: int) -> None:
        if not taken:
            taken.append(Path(lock.name).parent)
            shutil.rmtree(taken[0])
        real(lock, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with folder(".new-", tmp_path) as one:
        assert taken != [one]
        assert list(tmp_path.iterdir()) == [one]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_users_stays(tmp_path: Path) -> None:
    for name in (".new-", ".new-york", ".new-york-2019", ".new-pictures.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).touch()
    before = set(tmp_path.iterdir())
    with folder(".new-", tmp_path):
        pass
    assert set(tmp_path.iterdir()) == before


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
