"""A disk of blocks. What is written to it stays in memory: the image that it was made from never changes."""

from __future__ import annotations

from efishim.errors import EfishimError
from efishim.wire.disk import BLOCK

LARGEST = 512 << 20
"""Largest disk image, bytes."""


class DiskError(EfishimError):
    """A disk image that cannot be used, in one sentence."""

    exit_status = 4


class Medium:
    """`data` are the blocks; what is behind the last whole one is not there. A medium that is not `writable` refuses writes."""

    def __init__(self, data: bytes, *, writable: bool = False) -> None:
        if len(data) < BLOCK:
            raise DiskError(f"a disk image of {len(data)} bytes has not one block of {BLOCK}")
        self._data = memoryview(data)
        self._written: dict[int, bytes] = {}
        self.writable = writable
        self.blocks = len(data) // BLOCK

    @property
    def size(self) -> int:
        """Bytes."""
        return self.blocks * BLOCK

    def holds(self, offset: int, size: int) -> bool:
        """Are all of these bytes on the medium?"""
        return offset >= 0 and size >= 0 and offset + size <= self.size

    def read(self, offset: int, size: int) -> bytes:
        """Bytes. Raises DiskError behind the end."""
        if not self.holds(offset, size):
            raise DiskError(f"{size} bytes at {offset:#x} are behind the end of the disk of {self.size} bytes")
        if not self._written:
            return bytes(self._data[offset : offset + size])
        first, last = offset // BLOCK, -(-(offset + size) // BLOCK)
        whole = b"".join(self._block(number) for number in range(first, last))
        return whole[offset - first * BLOCK :][:size]

    def _block(self, number: int) -> bytes:
        return self._written.get(number) or bytes(self._data[number * BLOCK : (number + 1) * BLOCK])

    def write(self, offset: int, data: bytes) -> None:
        """Bytes over those that are there. Raises DiskError behind the end, and where nothing may be written."""
        if not self.writable:
            raise DiskError("the disk is read-only")
        before = self.read(offset - offset % BLOCK, offset % BLOCK)
        end = offset + len(data)
        if not self.holds(offset, len(data)):
            raise DiskError(f"{len(data)} bytes at {offset:#x} do not fit the disk of {self.size} bytes")
        whole = before + data + self.read(end, -end % BLOCK)
        for at in range(0, len(whole), BLOCK):
            self._written[offset // BLOCK + at // BLOCK] = whole[at : at + BLOCK]
