"""Unpacking: every method of the kernel's decompressors, sizes that lie, and bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
import tracemalloc
from collections.abc import Callable

import lzallright
import pytest
import zstandard
from lz4 import block as lz4_block

from efishim.errors import ImageError
from efishim.image import payload
from efishim.image.payload import Method, detect, unpack, unpack_pieces

# Text that packs somewhat, and enough of it for several blocks of every method.
_NOISE = random.Random(2016).randbytes(40_000)
KERNEL = b"\x7fELF" + (_NOISE + b"\x90" * 30_000 + _NOISE[::-1]) * 5


def size_word(data: bytes) -> bytes:
    return struct.pack("<I", len(data))


def lz4_legacy(data: bytes) -> bytes:
    blocks = [data[i : i + (8 << 20)] for i in range(0, len(data), 8 << 20)]
    compress = lz4_block.compress  # type: ignore[attr-defined]
    packed = [compress(block, store_size=False, mode="high_compression") for block in blocks]
    return b"\x02\x21\x4c\x18" + b"".join(struct.pack("<I", len(block)) + block for block in packed)


def lzop(data: bytes, *, flags: int = 0x3, version: int = 0x1040, name: bytes = b"vmlinux") -> bytes:
    """lzop's file format: header, then blocks of 256 KiB with the checksums that the flags announce."""
    newer = version >= 0x940
    header = struct.pack(">HH", version, 0x20A0) + (struct.pack(">H", 0x940) if newer else b"") + b"\3"
    header += (b"\x09" if newer else b"") + struct.pack(">I", flags) + (struct.pack(">I", 1) if flags & 0x800 else b"")
    header += struct.pack(">II", 0o100644, 0) + (struct.pack(">I", 0) if newer else b"")
    header += bytes([len(name)]) + name + struct.pack(">I", 0)
    out = b"\x89LZO\0\r\n\x1a\n" + header
    for at in range(0, len(data), 256 << 10):
        block = data[at : at + (256 << 10)]
        packed = lzallright.LZOCompressor().compress(block)
        stored = len(packed) >= len(block)
        out += struct.pack(">II", len(block), len(block) if stored else len(packed))
        out += b"sum1" * (bool(flags & 1) + bool(flags & 0x100))
        if not stored:
            out += b"sum2" * (bool(flags & 2) + bool(flags & 0x200))
        out += block if stored else packed
    return out + struct.pack(">I", 0)


def xz_bcj(data: bytes) -> bytes:
    """As scripts/xz_wrap.sh calls xz for x86: CRC32, the x86 branch filter, LZMA2."""
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 6}]
    return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=filters)


PACKERS: dict[Method, Callable[[bytes], bytes]] = {
    Method.GZIP: gzip.compress,
    Method.BZIP2: lambda data: bz2.compress(data) + size_word(data),
    Method.LZMA: lambda data: lzma.compress(data, lzma.FORMAT_ALONE) + size_word(data),
    Method.XZ: lambda data: xz_bcj(data) + size_word(data),
    Method.LZO: lambda data: lzop(data) + size_word(data),
    Method.LZ4: lambda data: lz4_legacy(data) + size_word(data),
    Method.ZSTD: lambda data: zstandard.ZstdCompressor(level=3).compress(data) + size_word(data),
    Method.NONE: bytes,
}
COMPRESSED = [method for method in Method if method is not Method.NONE]


@pytest.mark.parametrize("method", list(Method))
def test_every_method_unpacks(method: Method) -> None:
    packed = PACKERS[method](KERNEL)
    assert detect(packed) is method
    assert unpack(packed) == KERNEL
    assert unpack(memoryview(packed)) == KERNEL


@pytest.mark.slow
@pytest.mark.parametrize("method", COMPRESSED)
def test_pieces_come_before_the_end(method: Method) -> None:
    """A reader that stops early does not pay for the rest, nor for damage there."""
    data = b"\x7fELF" + bytes(20 << 20)
    packed = bytearray(PACKERS[method](data))
    pieces = unpack_pieces(bytes(packed))
    first = next(pieces)
    assert first[:4] == b"\x7fELF"
    assert len(first) <= 8 << 20


@pytest.mark.parametrize("method", COMPRESSED)
def test_truncated_payloads_are_named(method: Method) -> None:
    packed = PACKERS[method](KERNEL)
    for size in (len(packed) // 2, len(packed) // 4, 40, 12):
        # the announced size stays right, so that only the missing data can be the reason
        with pytest.raises(ImageError, match=r"corrupt|announces"):
            unpack(packed[:size] + size_word(KERNEL))


@pytest.mark.parametrize("method", COMPRESSED)
@pytest.mark.parametrize("wrong", [len(KERNEL) - 1, len(KERNEL) + 1, 0, 1])
def test_a_size_that_lies_is_refused(method: Method, wrong: int) -> None:
    packed = PACKERS[method](KERNEL)
    with pytest.raises(ImageError, match=r"announces|corrupt"):
        unpack(packed[:-4] + struct.pack("<I", wrong))


@pytest.mark.slow
@pytest.mark.parametrize("method", COMPRESSED)
def test_a_bomb_does_not_go_off(method: Method) -> None:
    """64 MiB behind an announced size of 4 KiB: refused before more than one piece exists."""
    packed = PACKERS[method](bytes(64 << 20))[:-4] + struct.pack("<I", 4096)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match=r"more than the 4096 bytes|corrupt"):
            unpack(packed)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_an_absurd_announcement_is_refused_at_once() -> None:
    with pytest.raises(ImageError, match="announces 4294967295 bytes"):
        unpack(zstandard.ZstdCompressor().compress(b"x") + b"\xff" * 4)


def test_windows_that_need_too_much_memory_are_refused() -> None:
    alone = bytearray(lzma.compress(b"kernel" * 100, lzma.FORMAT_ALONE))
    alone[1:5] = struct.pack("<I", 0xFFFFFFFF)  # dictionary size
    assert detect(bytes(alone)) is None  # its magic is that of dictionaries that kernels use
    alone[1:5] = struct.pack("<I", 0xF0000000)
    with pytest.raises(ImageError, match="corrupt"):
        unpack(bytes(alone) + struct.pack("<I", 600))
    frame = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(window_log=31)).compressobj()
    huge = frame.compress(b"k" * 100) + frame.flush()
    with pytest.raises(ImageError, match="corrupt"):
        unpack(huge + struct.pack("<I", 100))


@pytest.mark.parametrize("flags", [0, 0x1, 0x2, 0x100, 0x200, 0x303, 0x800])
@pytest.mark.parametrize("version", [0x1040, 0x0900])
def test_lzo_headers_of_all_forms(flags: int, version: int) -> None:
    assert unpack(lzop(KERNEL, flags=flags, version=version) + size_word(KERNEL)) == KERNEL


def test_an_lzo_block_larger_than_the_kernel_takes_is_refused() -> None:
    bad = lzop(KERNEL)
    at = bad.index(b"vmlinux") + 7 + 4
    bad = bad[:at] + struct.pack(">I", (256 << 10) + 1) + bad[at + 4 :]
    with pytest.raises(ImageError, match="block of 262145 bytes"):
        unpack(bad + size_word(KERNEL))


def test_concatenated_lz4_frames() -> None:
    packed = lz4_legacy(KERNEL[:1000]) + lz4_legacy(KERNEL[1000:])
    assert unpack(packed + size_word(KERNEL)) == KERNEL


def test_what_is_no_payload() -> None:
    for junk in (b"", b"\0" * 64, b"text, not a kernel"):
        assert detect(junk) is None
        with pytest.raises(ImageError, match="no compression that kernels use"):
            unpack(junk)


def test_the_magic_numbers_name_every_method() -> None:
    assert {method for _, method in payload.MAGIC} == set(Method)
