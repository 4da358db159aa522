"""Decompresses kernels, in bounded memory, with the methods of arch/x86/boot/compressed.

Everything is unpacked in pieces, so that a reader that needs only the first part stops early, and so that a payload
that grows beyond what it announces is caught before it costs memory. Formats: scripts/Makefile.lib of the Linux sources
(`cmd_lz4` makes LZ4's legacy frames, `size_append` puts the unpacked size behind all but gzip, which has it already).
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator
from enum import StrEnum
from typing import assert_never

from efishim.errors import ImageError

MAX_UNPACKED = 256 << 20
"""Largest kernel that is unpacked, bytes. Distribution kernels have 40 to 70 MiB."""

MEMORY_LIMIT = 256 << 20
"""Most memory for a decompressor's window, bytes. xz and zstd use 128 MiB at most for kernels."""

CHUNK = 1 << 20
LEAST_PIECE = 4 << 10
"""Bytes that a block counts for when it has fewer: what it costs besides."""
LZ4_LEGACY_BLOCK = 8 << 20
LZO_BLOCK = 256 << 10
"""Largest unpacked block of an LZO payload; lib/decompress_unlzo.c takes no larger one."""

_CORRUPT = (ValueError, EOFError, OSError, MemoryError, struct.error, lzma.LZMAError, zlib.error)


class Method(StrEnum):
    """How a payload is compressed."""

    GZIP = "gzip"
    BZIP2 = "bzip2"
    LZMA = "lzma"
    XZ = "xz"
    LZO = "lzo"
    LZ4 = "lz4"
    ZSTD = "zstd"
    NONE = "none"


MAGIC: tuple[tuple[bytes, Method], ...] = (
    # lib/decompress.c and, for zstd, lib/decompress_unzstd.c of the Linux sources
    (b"\x1f\x8b", Method.GZIP),
    (b"BZh", Method.BZIP2),
    (b"\xfd7zXZ\0", Method.XZ),
    (b"\x89LZO\0\r\n\x1a\n", Method.LZO),
    (b"\x02\x21\x4c\x18", Method.LZ4),
    (b"\x28\xb5\x2f\xfd", Method.ZSTD),
    (b"\x5d\0\0", Method.LZMA),
    (b"\x7fELF", Method.NONE),
)


def detect(payload: bytes | memoryview) -> Method | None:
    """The method by its magic number, None for none that the kernel's decompressors know."""
    head = bytes(payload[:16])
    return next((method for magic, method in MAGIC if head.startswith(magic)), None)


def announced_size(payload: memoryview) -> int:
    """The unpacked size that the last 32-bit word gives, modulo 4 GiB."""
    return int.from_bytes(payload[-4:], "little") if len(payload) >= 4 else 0


def unpack(payload: bytes | memoryview) -> bytes:
    """The whole unpacked payload. Raises ImageError when it is corrupt, too large or not as large as announced."""
    view = memoryview(payload)
    out = b"".join(unpack_pieces(view))
    if detect(view) is not Method.NONE and announced_size(view) != len(out):
        raise ImageError(f"the payload unpacks to {len(out)} bytes, but announces {announced_size(view)}")
    return out


def unpack_pieces(payload: bytes | memoryview, *, limit: int = MAX_UNPACKED) -> Iterator[bytes]:
    """The unpacked payload piece by piece; a piece has 8 MiB at most.

    Raises ImageError on the piece that is corrupt, or that passes the announced size or `limit`.
    """
    view = memoryview(payload)
    method = detect(view)
    if method is None:
        raise ImageError(f"the payload starts with {bytes(view[:6]).hex()}, which is no compression that kernels use")
    if method is Method.NONE:
        yield bytes(view)
        return
    bound = announced_size(view)
    if bound > limit:
        raise ImageError(f"the payload announces {bound} bytes, more than the {limit} that efishim unpacks")
    total = work = 0
    try:
        for piece in _pieces(method, view):
            total += len(piece)
            work += max(len(piece), LEAST_PIECE)
            if work > limit + bound:
                raise ImageError(f"the {method} payload is in pieces so small that unpacking them takes too long")
            if total > bound:
                raise ImageError(f"the {method} payload unpacks to more than the {bound} bytes that it announces")
            yield piece
    except _CORRUPT as error:
        reason = str(error).split("\n")[0].rstrip(".") or type(error).__name__
        raise ImageError(f"the {method} payload is corrupt after {total} bytes: {reason}") from error


def _pieces(method: Method, view: memoryview) -> Iterator[bytes]:
    match method:
        case Method.GZIP:
            return _gzip(view)
        case Method.BZIP2:
            return _standard(bz2.BZ2Decompressor(), view)
        case Method.LZMA:
            return _standard(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_LIMIT), view)
        case Method.XZ:
            return _standard(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_LIMIT), view)
        case Method.LZO:
            return _lzo(view)
        case Method.LZ4:
            return _lz4_legacy(view)
        case Method.ZSTD:
            return _zstd(view)
        case Method.NONE:
            return iter((bytes(view),))
        case _:
            assert_never(method)


def _gzip(view: memoryview) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    for at in range(0, len(view), CHUNK):
        # Not all at once: what is not consumed is copied each time.
        source: bytes | memoryview = view[at : at + CHUNK]
        while source and not decompressor.eof:
            piece = decompressor.decompress(source, CHUNK)
            source = decompressor.unconsumed_tail
            if piece:
                yield piece
    while not decompressor.eof:
        piece = decompressor.decompress(b"", CHUNK)
        if not piece:
            raise EOFError("it is truncated")
        yield piece


def _standard(decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor, view: memoryview) -> Iterator[bytes]:
    piece = decompressor.decompress(view, CHUNK)
    while True:
        if piece:
            yield piece
        if decompressor.eof:
            return
        if decompressor.needs_input:
            raise EOFError("it is truncated")
        piece = decompressor.decompress(b"", CHUNK)


def _zstd(view: memoryview) -> Iterator[bytes]:
    import zstandard  # noqa: PLC0415  (20 ms that only zstd payloads pay)

    try:
        with zstandard.ZstdDecompressor(max_window_size=MEMORY_LIMIT >> 1).stream_reader(view[:-4]) as reader:
            while piece := reader.read(CHUNK):
                yield piece
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error


def _lz4_legacy(view: memoryview) -> Iterator[bytes]:
    """LZ4's legacy frame: blocks of 8 MiB unpacked, each behind its packed size; the kernel's size word ends it."""
    from lz4.block import (  # type: ignore[attr-defined]  # noqa: PLC0415  (only LZ4 payloads need it)
        LZ4BlockError,
        decompress,
    )

    magic = view[:4]
    at, end = 4, len(view) - 4
    while at + 4 <= end:
        size = int.from_bytes(view[at : at + 4], "little")
        at += 4
        if size == int.from_bytes(magic, "little"):
            yield b""
            continue  # a concatenated frame, which lib/decompress_unlz4.c accepts
        if size == 0 or at + size > end:
            raise EOFError("it is truncated" if size else "it has an empty block")
        try:
            yield decompress(view[at : at + size], uncompressed_size=LZ4_LEGACY_BLOCK)
        except LZ4BlockError as error:
            raise ValueError(str(error)) from error
        at += size


def _lzo(view: memoryview) -> Iterator[bytes]:
    """lzop's file format as lib/decompress_unlzo.c reads it: numbers are big-endian, checksums are skipped."""
    import lzallright  # noqa: PLC0415  (only LZO payloads need it)

    at = _lzo_header_end(view)
    flags = _lzo_flags(view)
    # ADLER32_D and CRC32_D, ADLER32_C and CRC32_C (lzop's conf.h)
    unpacked_sums = bool(flags & 0x1) + bool(flags & 0x100)
    packed_sums = bool(flags & 0x2) + bool(flags & 0x200)
    while True:
        (unpacked_size,) = struct.unpack_from(">I", view, at)
        if unpacked_size == 0:
            return
        (packed_size,) = struct.unpack_from(">I", view, at + 4)
        if unpacked_size > LZO_BLOCK or packed_size > unpacked_size:
            raise ValueError(f"it has a block of {unpacked_size} bytes packed into {packed_size}")
        at += 8 + 4 * unpacked_sums
        if packed_size == unpacked_size:
            piece = bytes(view[at : at + packed_size])
        else:
            at += 4 * packed_sums
            block = bytes(view[at : at + packed_size])
            try:
                piece = lzallright.LZOCompressor.decompress(block, unpacked_size)
            except lzallright.LZOError as error:
                raise ValueError(str(error)) from error
        if len(piece) != unpacked_size:
            raise ValueError(f"it has a block of {len(piece)} bytes that announces {unpacked_size}")
        yield piece
        at += packed_size


def _lzo_version(view: memoryview) -> int:
    version: int = struct.unpack_from(">H", view, 9)[0]
    return version


def _lzo_flags(view: memoryview) -> int:
    flags: int = struct.unpack_from(">I", view, 17 if _lzo_version(view) >= 0x940 else 14)[0]
    return flags


def _lzo_header_end(view: memoryview) -> int:
    newer = _lzo_version(view) >= 0x940
    at = 17 if newer else 14
    at += 4 + (4 if _lzo_flags(view) & 0x800 else 0)  # flags, and the filter that F_H_FILTER announces
    at += 12 if newer else 8  # mode and time
    (name_length,) = struct.unpack_from(">B", view, at)
    return at + 1 + int(name_length) + 4  # the name and the header's checksum
