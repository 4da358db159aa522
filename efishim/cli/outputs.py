"""Files that results are written to: checked before the work, `-` for standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from efishim.errors import UsageError

STDOUT = "-"
"""What stands for standard output where a file is named."""


def check_writable(path: str) -> None:
    """A run of minutes whose record cannot be kept is a waste: say so before. Raises UsageError."""
    if path == STDOUT:
        return
    place = Path(path)
    with _usable(path):
        if place.is_dir():
            raise UsageError(f"{path} is a directory, not a file")
        if not place.parent.is_dir():
            raise UsageError(f"the directory of {path} does not exist")
        if not os.access(place if place.exists() and not place.is_file() else place.parent, os.W_OK):
            raise UsageError(f"{path} may not be written")


def check_directory(path: str) -> None:
    """The same for a directory that is made when it does not exist yet. Raises UsageError."""
    place = Path(path)
    with _usable(path):
        if place.exists() and not place.is_dir():
            raise UsageError(f"{path} is a file, not a directory")
        there = next(one for one in (place, *place.absolute().parents) if one.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise UsageError(f"{path} cannot be made: {there} may not be written")


@contextmanager
def _usable(path: str) -> Iterator[None]:
    """A name that is too long, or in a folder that may not be searched, cannot even be asked about."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def deliver(path: str, data: bytes) -> None:
    """Write a result to its file, atomically, or to standard output. Raises OutputError."""
    if path == STDOUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    from efishim.report.files import write_atomically

    write_atomically(path, data)
