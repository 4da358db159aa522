"""Writes cpio archives in "newc" format, which Linux accepts as ramdisks.

Source: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

Deterministic: no time, no host numbers; inodes count up in the order of the entries.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Entry:
    """One member. `name` has no leading slash; `mode` holds type and permissions as in stat(2)."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)
    """Major and minor number of a device node."""

    @classmethod
    def directory(cls, name: str, permissions: int = 0o755) -> Entry:
        """A directory."""
        return cls(name, stat.S_IFDIR | permissions)

    @classmethod
    def file(cls, name: str, data: bytes, permissions: int = 0o644) -> Entry:
        """A regular file."""
        return cls(name, stat.S_IFREG | permissions, data)

    @classmethod
    def character_device(cls, name: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
        """A character device node."""
        return cls(name, stat.S_IFCHR | permissions, device=(major, minor))


def _pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _member(entry: Entry, inode: int) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
    return _pad(_MAGIC + b"".join(b"%08X" % field for field in fields) + name) + _pad(entry.data)


def archive(entries: Iterable[Entry]) -> bytes:
    """The archive of these members, in their order. A directory must come before what lies in it."""
    members = [_member(entry, inode) for inode, entry in enumerate(entries, start=1)]
    return b"".join(members) + _member(Entry(_TRAILER, 0), 0)
