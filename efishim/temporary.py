"""Temporary files and folders. Those of a killed process are removed by the next one that writes there.

Each is locked (flock(2)) by its process for as long as that lives, however it ends: one without a lock is stale.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".partial"
MADE = "[a-z0-9_]{8}"
"""What tempfile puts into a name. A user's `.holiday.partial` has a name of its own."""
LOCK = "lock"
"""A file in each folder."""


@contextmanager
def partial_file(place: Path, *, all_ours: bool = False) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file beside `place`, to be renamed to it when it is whole, or removed. With `all_ours` every file of that kind in
    the directory is efishim's, and not only those for `place`. Raises OSError.
    """
    prefix = f".{place.name}."
    _remove_stale_files(place.parent, r"\..+\." if all_ours else re.escape(prefix))
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
        taken = False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken = True  # another process takes it for stale and is about to remove it
        except OSError:
            pass  # without locks nothing is ever found stale
        if not taken and os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)


def _remove_stale_files(directory: Path, prefix: str) -> None:
    """`prefix` is a regular expression."""
    ours = re.compile(prefix + MADE + re.escape(SUFFIX), re.DOTALL)
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if ours.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_file(Path(entry.path))


def _remove_file(path: Path) -> None:
    """Remove a file, unless it is in use or not ours."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    finally:
        os.close(descriptor)


@contextmanager
def folder(prefix: str, parent: Path) -> Iterator[Path]:
    """A folder that is empty except for its lock."""
    _remove_stale_folders(prefix, parent)
    while True:
        with ExitStack() as stack:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=parent)))
            lock = stack.enter_context((place / LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_nlink:
                yield place
                return
        # another process took it for stale before it was locked, and removed it


def _remove_stale_folders(prefix: str, parent: Path) -> None:
    with suppress(OSError):
        for one in list(parent.iterdir()):
            if re.fullmatch(re.escape(prefix) + MADE, one.name):
                with suppress(OSError):  # another process was quicker, or it is not ours
                    _remove_folder(one)


def _remove_folder(one: Path) -> None:
    if one.is_symlink() or one.stat().st_uid != os.geteuid():
        return
    with (one / LOCK).open("r") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(one)
