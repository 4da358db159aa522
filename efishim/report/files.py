"""Writing result files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from efishim.errors import EfishimError


class OutputError(EfishimError):
    """A result could not be written."""


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write next to the target and rename. A target that is no regular file (/dev/stdout, a pipe) is written directly.

    Raises OutputError.
    """
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            place.write_bytes(data)
            return
        handle, temporary = tempfile.mkstemp(prefix=f".{place.name}.", dir=place.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                os.fchmod(stream.fileno(), 0o666 & ~_umask())
            Path(temporary).replace(place)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from error


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
