"""Writes output files atomically."""

from __future__ import annotations

import errno
import os
import select
import time
from contextlib import suppress
from pathlib import Path

from efishim.errors import EfishimError
from efishim.temporary import partial_file

PATIENCE = 10.0
"""Seconds that a reader may let us wait."""

POLL = 0.05
PIECE = select.PIPE_BUF
"""Bytes that a stream takes at once without waiting when it takes any (pipe(7))."""

LINKS = 40
"""Symbolic links that Linux follows for one name (path_resolution(7))."""


class OutputError(EfishimError):
    """A result could not be written."""


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write next to the target and rename. A target that is no regular file (/dev/stdout, a pipe) is written directly, as
    long as it has a reader.

    Raises OutputError.
    """
    place = Path(path)
    try:
        number = _descriptor(place)
        if number is not None:
            _drain(os.dup(number), data)
            return
        if place.exists() and not place.is_file():
            _drain(_opened(place), data)
            return
        place = place.resolve()  # what a symbolic link leads to is replaced, not the link
        with partial_file(place) as (stream, temporary):
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), 0o666 & ~_umask())
            temporary.replace(place)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _descriptor(place: Path) -> int | None:
    """The number, if the name leads to one of this process's open files (/dev/stdout, /dev/fd/3): that must not be replaced
    by another file, nor written to from its beginning.
    """
    ours = Path(f"/proc/{os.getpid()}/fd")
    for _ in range(LINKS):
        if place.name.isdecimal() and place.parent.resolve() == ours:
            return int(place.name)
        if not place.is_symlink():
            return None
        place = place.parent / place.readlink()
    return None


def _opened(place: Path) -> int:
    """A pipe or a device, open for writing; a FIFO without a reader is waited for a while."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return os.open(place, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:  # open(2): a FIFO without a reader
                raise
            time.sleep(POLL)


def _drain(handle: int, data: bytes) -> None:
    """Write all to a stream and close it; a reader that does not read is not waited for long."""
    try:
        left = memoryview(data)
        while left:
            _, ready, _ = select.select([], [handle], [], PATIENCE)
            if not ready:
                raise TimeoutError(errno.ETIMEDOUT, "it is not being read")
            with suppress(BlockingIOError):
                left = left[os.write(handle, left[:PIECE]) :]
    finally:
        os.close(handle)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
