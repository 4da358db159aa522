"""Files and folders for a while. What a killed process left is removed by the next one that writes there.

Who works with one holds a lock on it (flock(2)), which goes with the process however that ends: what nobody holds is stale.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".partial"
LOCK = "lock"
"""A file in each folder."""


@contextmanager
def partial_file(place: Path, *, all_ours: bool = False) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside `place`, to be renamed to it when it is whole, or removed. With `all_ours` every file of that kind in
    the directory is efishim's, and not only those for `place`. Raises OSError.
    """
    prefix = f".{place.name}."
    _remove_stale_files(place.parent, "." if all_ours else prefix)
    descriptor, name = _locked_file(prefix, place.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream, temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def _locked_file(prefix: str, directory: Path) -> tuple[int, str]:
    while True:
        descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=SUFFIX, dir=directory)
        with suppress(OSError):  # without locks nothing is ever found stale
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)  # somebody took it for stale before it was locked


def _remove_stale_files(directory: Path, prefix: str) -> None:
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(SUFFIX):
                with suppress(OSError):
                    _remove_file(Path(entry.path))


def _remove_file(path: Path) -> None:
    """Unless somebody works with it, or it is none of ours."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    finally:
        os.close(descriptor)


@contextmanager
def folder(prefix: str, parent: Path) -> Iterator[Path]:
    """An empty folder, but for its lock."""
    _remove_stale_folders(prefix, parent)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent) as name, (Path(name) / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def _remove_stale_folders(prefix: str, parent: Path) -> None:
    with suppress(OSError):
        for one in list(parent.iterdir()):
            if one.name.startswith(prefix):
                with suppress(OSError):  # somebody else was quicker, or it is not ours
                    _remove_folder(one)


def _remove_folder(one: Path) -> None:
    if one.is_symlink() or one.stat().st_uid != os.geteuid():
        return
    with (one / LOCK).open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(one)
