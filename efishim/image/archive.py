"""Reads Debian packages: an `ar` archive that contains the files as a compressed tar (deb(5)).

Only regular files that were asked for by pattern leave the package, read in bounded memory; their names are checked,
so that nothing can be written outside the directory that the caller chose.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO, cast

from efishim.errors import ImageError
from efishim.image.text import printable

AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60
AR_END = b"`\n"
MAX_AR_MEMBERS = 64

MAX_FILE = 512 << 20
"""Largest file that is taken out of a package, bytes; efishim opens no larger image."""

MAX_UNPACKED = 2 << 30
"""Most bytes of a package's tar that are read. Kernel packages have about 1 GiB."""

MAX_MEMBERS = 50_000
"""Most members of a package; kernel packages have 7,000."""

HEADERS = 2 << 20
"""Most bytes between the contents of two files: a header, and the extended headers that belong to it."""

MAX_WINDOW = 1 << 27
"""Largest window of a zstd stream, bytes."""

CHUNK = 1 << 20

_CORRUPT = (
    tarfile.TarError,
    OSError,
    EOFError,
    ValueError,
    lzma.LZMAError,
    zlib.error,
    MemoryError,
    OverflowError,
    RecursionError,
)


class _Window(io.RawIOBase):
    """A readable part of another stream."""

    def __init__(self, stream: IO[bytes], start: int, size: int) -> None:
        self._stream = stream
        self._left = size
        stream.seek(start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        data = self._stream.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)


class _Bounded(io.RawIOBase):
    """A stream that fails instead of giving more than a number of bytes."""

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._left = limit
        self._read = 0
        self.until = HEADERS
        """How far may be read before this is raised: tarfile takes extended headers of any size into memory."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        data = self._stream.read(len(view))
        self._left -= len(data)
        self._read += len(data)
        if self._left < 0:
            raise ValueError("it unpacks to more than efishim reads")
        if self._read > self.until + CHUNK:  # a buffer reads ahead
            raise ValueError(f"a member's headers have more than {HEADERS >> 20} MiB")
        view[: len(data)] = data
        return len(data)


class _Zstd(io.RawIOBase):
    """A zstd stream whose errors are ValueErrors, as those of the other decompressors are in Python's own terms."""

    def __init__(self, stream: IO[bytes]) -> None:
        import zstandard  # noqa: PLC0415  (20 ms that only such packages pay)

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(stream)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer)).cast("B")
        try:
            data = self._reader.read(len(view))
        except self._error as error:
            raise ValueError(str(error)) from error
        view[: len(data)] = data
        return len(data)


def extract(package: Path, patterns: Sequence[str], directory: Path, *, companions: Sequence[str] = ()) -> tuple[str, ...]:
    """Write the files of a .deb whose path (`boot/vmlinuz-6.1.0`) matches a pattern below `directory`.

    `companions` are patterns of files that are taken along when they lie where the others do. Gives the paths relative
    to `directory`, in the order of the archive. Raises ImageError for a package that is damaged or larger than the
    bounds, and OSError when a file cannot be written.
    """
    written: list[str] = []
    places: set[str] = set()
    everything = (*patterns, *companions)
    with package.open("rb") as stream:
        for member, source in _members(stream, package.name):
            name = _clean(member.name)
            if places and _behind(name, places, everything):
                break
            if not member.isreg() or not _matches(name, everything):
                continue
            if member.size > MAX_FILE:
                raise ImageError(f"{printable(name)} in {package.name} has {member.size} bytes")
            content = source.extractfile(member)
            if content is None or not _safe(name):
                raise ImageError(f"{package.name} has a file with the unsafe name {printable(name)}")
            _write(_chunks(content, package.name), directory.joinpath(*PurePosixPath(name).parts))
            written.append(name)
            if _matches(name, patterns):
                places.add(PurePosixPath(name).parts[0])
    return tuple(written)


def _members(stream: IO[bytes], name: str) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    try:
        kind, start, size = _data_member(stream)
        unpacked = _Bounded(_decompressor(kind, _Window(stream, start, size)), MAX_UNPACKED)
        with tarfile.open(fileobj=io.BufferedReader(unpacked, CHUNK), mode="r|", errorlevel=2) as tar:
            for count, member in enumerate(tar):
                if count == MAX_MEMBERS:
                    raise ValueError(f"it has more than {MAX_MEMBERS} members")
                unpacked.until = tar.offset + HEADERS
                yield member, tar
                vars(tar)["members"] = []  # it keeps all of them otherwise
    except _CORRUPT as error:
        raise _damaged(name, error) from error


def _data_member(stream: IO[bytes]) -> tuple[str, int, int]:
    """(suffix, offset, size) of the data.tar member."""
    if stream.read(len(AR_MAGIC)) != AR_MAGIC:
        raise ValueError("it is not an ar archive")
    at = len(AR_MAGIC)
    for _ in range(MAX_AR_MEMBERS):
        stream.seek(at)
        header = stream.read(AR_HEADER)
        if len(header) < AR_HEADER or header[58:60] != AR_END:
            break
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        size_text = header[48:58].strip()
        if not size_text.isdigit():
            break
        size = int(size_text)
        if name.startswith("data.tar"):
            return name[len("data.tar") :], at + AR_HEADER, size
        at += AR_HEADER + size + size % 2
    raise ValueError("it has no data.tar")


def _decompressor(suffix: str, source: io.RawIOBase) -> IO[bytes]:
    stream = io.BufferedReader(source, CHUNK)
    match suffix:
        case "":
            return stream
        case ".xz" | ".lzma":
            return cast("IO[bytes]", lzma.LZMAFile(stream))
        case ".gz":
            return cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
        case ".bz2":
            return cast("IO[bytes]", bz2.BZ2File(stream))
        case ".zst":
            return cast("IO[bytes]", io.BufferedReader(_Zstd(stream), CHUNK))
        case _:
            raise ValueError(f"its data.tar{suffix} is packed in a way that dpkg does not use")


def _clean(name: str) -> str:
    return name.removeprefix("./")


def _safe(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and "\0" not in name


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _behind(name: str, places: set[str], patterns: Sequence[str]) -> bool:
    """No later file in the same top directories can match: dpkg-deb writes files in ascending order of their names.

    That saves unpacking a kernel's modules, nine tenths of its package, to reach their end.
    """
    prefixes = [pattern.split("*")[0].split("?")[0].split("[")[0] for pattern in patterns]
    near = [prefix for prefix in prefixes if prefix.split("/")[0] in places or "/" not in prefix]
    return all(name > prefix and not name.startswith(prefix) for prefix in near)


def _chunks(content: IO[bytes], package: str) -> Iterator[bytes]:
    try:
        while chunk := content.read(CHUNK):
            yield chunk
    except _CORRUPT as error:
        raise _damaged(package, error) from error


def _write(chunks: Iterator[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with target.open("xb") as stream:
            for chunk in chunks:
                stream.write(chunk)
    except FileExistsError:
        raise ImageError(f"the package has {printable(target.name)} twice") from None


def _damaged(package: str, error: BaseException) -> ImageError:
    reason = str(error).split("\n")[0] or type(error).__name__
    return ImageError(f"{package} is damaged: {printable(reason)}")
