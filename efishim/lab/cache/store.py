"""A folder of files with a bound on its size: the file that was not used for longest goes first.

All writing is done by whoever holds the lock (flock(2), which ends with its process however that ends), and room is made before
a byte is written. So the bound holds with many processes at a time, and after one that was killed while it wrote: what that
left behind is removed by the next.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from efishim.errors import EfishimError
from efishim.reading import read_file

BLOCK = 4096
"""Files take whole blocks of the disk."""
LOCK = "lock"
PARTIAL = ".partial"
PATIENCE = 2.0
"""Seconds that another process may hold the lock before the record is not kept. A file is written in a few milliseconds."""
PAUSE = 0.01
PRIVATE = 0o700


class StoreError(EfishimError):
    """A file is not there, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Number of files and the bytes that they take on the disk."""

    files: int = 0
    size: int = 0


class Store:
    """Files of at most `limit` bytes together below `folder`, which only its owner may look into. Names are the caller's, of
    letters, digits and dots. What goes wrong costs time and is no error.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def get(self, name: str) -> bytes | None:
        """A file's content; it is now the one used last."""
        path = self.folder / name
        if not self.private():
            return None
        try:
            content = read_file(path, self.limit, "record", StoreError)
        except StoreError:
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def put(self, name: str, content: bytes) -> bool:
        """Keep a file. False when it could not be kept."""
        if taken(len(content)) > self.limit:
            return False
        try:
            self.folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            if not self.private():
                return False
            with self._locked() as held:
                return held and self._write(name, content)
        except OSError:
            return False

    def remove(self, name: str) -> None:
        """Forget a file."""
        with suppress(OSError):
            (self.folder / name).unlink()

    def clear(self) -> Usage:
        """Remove all files; what they took. Raises OSError."""
        found = Usage()
        if self.private():
            with self._locked() as held:
                if not held:
                    raise TimeoutError("another process is writing to it")
                found = self.usage()
                for entry in self._entries():
                    entry.unlink(missing_ok=True)
        return found

    def usage(self) -> Usage:
        """What there is."""
        sizes = []
        for path in self._entries():
            with suppress(OSError):
                sizes.append(taken(path.stat().st_size))
        return Usage(len(sizes), sum(sizes))

    def _entries(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.name != LOCK]
        except OSError:
            return []

    def _write(self, name: str, content: bytes) -> bool:
        """With the lock held: no other process writes, so an incomplete file was left by one that is gone."""
        found: list[tuple[int, int, Path]] = []
        for path in self._entries():
            status = path.lstat()
            if path.suffix == PARTIAL or path.name == name:
                path.unlink()
            else:
                found.append((status.st_mtime_ns, taken(status.st_size), path))
        left = self.limit - taken(len(content)) - sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if left >= 0:
                break
            path.unlink()
            left += size
        partial = self.folder / f"{name}{PARTIAL}"
        try:
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
                stream.write(content)
            partial.rename(self.folder / name)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            return False
        return True

    def private(self) -> bool:
        """Is it a folder of this user that no other user can write to? A writer could forge what a kernel did."""
        try:
            found = self.folder.lstat()
        except OSError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Gives False if another process does not release it."""
        handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        yield False
                        return
                    time.sleep(PAUSE)
            yield True
        finally:
            os.close(handle)  # which lets the lock go


def taken(size: int) -> int:
    """Bytes of the disk for so many of a file."""
    return -(-size // BLOCK) * BLOCK


__all__ = ["LOCK", "Store", "Usage", "taken"]
