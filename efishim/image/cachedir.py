"""The cache directory: $EFISHIM_CACHE, or efishim's directory in the user's cache."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from efishim.temporary import partial_file

VARIABLE = "EFISHIM_CACHE"


def cache_directory(environment: Mapping[str, str]) -> Path:
    """The directory; it need not exist yet."""
    chosen = environment.get(VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path  # noqa: PLC0415  (20 ms that $EFISHIM_CACHE saves)

    return user_cache_path("efishim")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see all of it or none, also when several processes write it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path, all_ours=True) as (stream, temporary):
        stream.write(content)
        stream.flush()
        temporary.replace(path)


def read_own(path: Path) -> bytes:
    """A file of the cache. Raises OSError, also for a file that another user may have written: owned by another user,
    writable by others, or behind a symbolic link. A hash inside it says nothing about who computed it.
    """
    # O_NONBLOCK: a FIFO in the place of a file does not wait for its writer (open(2)).
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        found = os.fstat(stream.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(f"{path} is not a regular file that only this user can write")
        return stream.read()
