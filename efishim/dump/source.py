"""The bytes of a dump's files, read where they lie: plain files with their holes, and files packed with gzip or zstd.

A dump is as large as its machine's memory and mostly zeroes, so nothing reads it whole: a plain file is read piece by piece,
and what is packed is unpacked into memory that the host provides for pages with content only.
"""

from __future__ import annotations

import gzip
import mmap
import os
import stat
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Protocol

from efishim.errors import ImageError
from efishim.image.text import printable

GZIP_MAGIC, ZSTD_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
PIECE = 64 << 10
"""Bytes that are looked at together: all zero, or content."""
MAX_UNPACKED = (1 << 30) + (64 << 20)
"""Bytes that a packed file may unpack to: a machine of 1 GiB, its display's memory and headers."""
MAX_CONTENT = 512 << 20
"""Bytes with content that are unpacked or put into a guest; a machine at its entry has a kernel, a ramdisk and tables."""
MAX_WINDOW = 1 << 27
"""Of a zstd stream, bytes."""
MAP_NORESERVE = 0x4000
"""Linux: no swap is set aside for what is never touched. Python has the name from 3.13 on."""
SMALLER = "dump a machine with less memory: 512 MiB hold a kernel and its ramdisk"
ZEROES = bytes(PIECE)


class DumpError(ImageError):
    """A dump that cannot be used, in one sentence."""


class Source(Protocol):
    """Bytes by their offset."""

    @property
    def size(self) -> int:
        """How many there are."""

    @property
    def packed(self) -> str:
        """`gzip`, `zstd`, or empty."""

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes, fewer at the end."""

    def content(self, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """(offset, size) of the parts of a range that may be other than zero, in order."""


class FileSource:
    """A plain file. It is read at each access, so it must not change meanwhile."""

    packed = ""

    def __init__(self, path: str, descriptor: int, size: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self.size = size

    def __del__(self) -> None:
        os.close(self._descriptor)

    def read(self, offset: int, size: int) -> bytes:
        """Raises DumpError when the host cannot read it."""
        found = bytearray()
        try:
            while len(found) < size:
                more = os.pread(self._descriptor, size - len(found), offset + len(found))
                if not more:
                    break
                found += more
        except OSError as error:
            raise DumpError(f"{self._path} cannot be read: {error.strerror}") from error
        return bytes(found)

    def content(self, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """What is not a hole (lseek(2), SEEK_DATA); all of it on a file system that does not tell."""
        at, end = offset, min(offset + size, self.size)
        while at < end:
            try:
                start = os.lseek(self._descriptor, at, os.SEEK_DATA)
                hole = os.lseek(self._descriptor, start, os.SEEK_HOLE)
            except OSError:
                if self._hole_to_the_end(at):
                    return
                start, hole = at, end
            if start >= end:
                return
            yield start, min(hole, end) - start
            at = hole

    def _hole_to_the_end(self, at: int) -> bool:
        """ENXIO of SEEK_DATA means that there is no data after the offset; other errors mean that it is not known."""
        try:
            return os.lseek(self._descriptor, at, os.SEEK_HOLE) == at
        except OSError:
            return False


class PackedSource:
    """What a packed file unpacks to, in memory."""

    def __init__(self, stream: IO[bytes], packed: str, name: str) -> None:
        """Raises DumpError for what is damaged or unpacks to too much."""
        self.packed = packed
        try:
            self._memory = mmap.mmap(-1, MAX_UNPACKED, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
        except OSError as error:
            size = f"{MAX_UNPACKED >> 20} MiB of address space"
            raise DumpError(f"the host refuses {size} to unpack {name}: {error.strerror}") from error
        self._pieces: list[int] = []
        self.size = 0
        try:
            while chunk := stream.read(PIECE):
                if self.size + len(chunk) > MAX_UNPACKED:
                    raise DumpError(f"{name} unpacks to more than {MAX_UNPACKED >> 20} MiB", hint=SMALLER)
                if chunk != (ZEROES if len(chunk) == PIECE else bytes(len(chunk))):
                    self._store(chunk, name)
                self.size += len(chunk)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise DumpError(f"{name} is damaged: {printable(str(error)) or type(error).__name__}") from error

    def _store(self, chunk: bytes, name: str) -> None:
        self._memory[self.size : self.size + len(chunk)] = chunk
        for piece in range(self.size // PIECE, (self.size + len(chunk) - 1) // PIECE + 1):
            if not self._pieces or self._pieces[-1] != piece:
                self._pieces.append(piece)
        if len(self._pieces) * PIECE > MAX_CONTENT:
            raise DumpError(f"{name} has more than {MAX_CONTENT >> 20} MiB that are not zero", hint=SMALLER)

    def read(self, offset: int, size: int) -> bytes:
        """So many bytes, fewer at the end."""
        return self._memory[offset : min(offset + size, self.size)]

    def content(self, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """What is not zero, in whole pieces."""
        end = min(offset + size, self.size)
        for index in range(bisect_left(self._pieces, offset // PIECE), len(self._pieces)):
            piece = self._pieces[index]
            low, high = max(piece * PIECE, offset), min((piece + 1) * PIECE, end)
            if low >= high:
                return
            yield low, high - low


class _Zstd:
    """A zstd stream of any number of frames whose errors are ValueErrors. One that ends within a frame ends there: who knows
    how long the content is looks at its size.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        import zstandard  # noqa: PLC0415  (20 ms that only such dumps pay)

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(stream, read_across_frames=True)

    def read(self, size: int) -> bytes:
        """Up to so many bytes."""
        try:
            data: bytes = self._reader.read(size)
        except self._error as error:
            raise ValueError(str(error)) from error
        return data


def open_source(path: Path | str, *, what: str = "dump") -> Source:
    """Open a file, and unpack it if it is packed. Raises DumpError with one sentence."""
    name = printable(os.fspath(path))
    try:
        # Opened so, a FIFO without a writer does not block (open(2)).
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as missing:
        raise DumpError(f"{name or 'the empty text'} does not exist", hint=f"give the path of a {what}") from missing
    except (OSError, ValueError) as error:
        raise DumpError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "a device, pipe or socket"
        raise DumpError(f"{name} is {kind}, not a {what}")
    source = FileSource(name, descriptor, found.st_size)
    head = source.read(0, 4)
    if head[:2] != GZIP_MAGIC and head != ZSTD_MAGIC:
        return source
    with os.fdopen(os.dup(descriptor), "rb") as stream:  # the same file, whatever the path leads to by now
        stream.seek(0)
        if head == ZSTD_MAGIC:
            return PackedSource(_Zstd(stream), "zstd", name)  # type: ignore[arg-type]  # it has the one method that is used
        return PackedSource(gzip.GzipFile(fileobj=stream), "gzip", name)  # type: ignore[arg-type]
