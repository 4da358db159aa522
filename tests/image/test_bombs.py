"""Small files that would be much work or much memory: each is refused, or is read as far as the bounds go."""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from efishim.errors import ImageError
from efishim.image.archive import extract
from efishim.image.kallsyms import DIGITS
from efishim.image.opened import open_image
from efishim.image.payload import unpack_pieces
from efishim.image.symbols import Symbols, symbols_from_system_map
from efishim.report.image import describe
from tests.support import images
from tests.support.images import ar_member, build_bzimage, build_elf, build_kallsyms, linux_symbols
from tests.support.pace import slowness

pytestmark = [pytest.mark.slow, pytest.mark.unmeasured]

SECONDS, MEMORY = 5.0, 1 << 30
"""What an image may cost; the processor's time, since the machine may have other things to do."""

BASE = 0xFFFFFFFF81000000


def cost(work: Callable[[], object]) -> str:
    """Do it in a process of its own, within the bounds; gives the sentence with which it was refused."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(ours)
            os.write(theirs, _measured(work).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as stream:
        answer = stream.read()
    os.waitpid(child, 0)
    seconds, used, sentence = answer.split(" ", 2)
    assert float(seconds) < SECONDS * slowness()
    assert int(used) < MEMORY
    return sentence


def _measured(work: Callable[[], object]) -> str:
    def resident(name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

    Path("/proc/self/clear_refs").write_text("5")  # proc(5): the peak is counted from now on
    before, begun = resident("VmRSS:"), time.process_time()
    try:
        work()
        sentence = ""
    except ImageError as error:
        sentence = error.sentence
    except Exception as error:  # noqa: BLE001 - it is the finding
        sentence = f"BUG: {error!r}"
    return f"{time.process_time() - begun} {resident('VmHWM:') - before} {sentence}"


def looked_at(data: bytes) -> Callable[[], object]:
    """Everything that `efishim inspect` looks at, and the symbols."""

    def work() -> None:
        image = open_image(data, path="bomb")
        describe(image, [])
        assert image.symbols is None or len(image.symbols) < 1 << 21

    return work


def kernel(content: bytes, *, before: bytes = b"") -> bytes:
    content = before + b"\0" * (-len(before) % 64) + content
    return build_elf([(BASE, 0x1000000, content, 0x8000000)], entry=0x1000000)


def test_tokens_that_expand(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 KiB of tables for 6 GiB of names."""

    def pack(names: list[str]) -> tuple[list[bytes], list[bytes]]:
        tokens = [bytes([code]) if 32 < code < 127 else b"%c" % (code % 64 + 64) for code in range(256)]
        tokens[200] = b"A" * 40_000
        return tokens, [bytes([200] * 100)] * len(names)

    monkeypatch.setattr(images, "pack_names", pack)
    tables = build_kallsyms(linux_symbols(1500), layout="new", place=0, base=BASE)
    assert cost(looked_at(kernel(tables))) == ""


def test_numbers_of_names_everywhere() -> None:
    """What looks like a number of symbols, 32,000 times, each 12 MiB before the markers."""
    markers = [131_000 * index for index in range(96)]
    count = struct.pack("<I", len(markers) * 256 - 100)
    table = struct.pack(f"<{len(markers)}I", *markers)
    assert cost(looked_at(kernel(count * (4 << 20) + table + _token_table()))) == ""


def _token_table() -> bytes:
    tokens = [bytes([code]) if 32 < code < 127 else b"%c" % (code % 64 + 64) for code in range(256)]
    starts = [sum(len(token) + 1 for token in tokens[:index]) for index in range(256)]
    return b"\0".join(tokens) + b"\0" + struct.pack("<256H", *starts)


@pytest.mark.parametrize(
    "content",
    [
        lambda: DIGITS * 500_000,
        lambda: bytes(16 << 20) + _token_table(),
        lambda: bytes(64) + _token_table() * 10_000,
        lambda: (struct.pack("<4I", 0, 600, 1200, 1800) + bytes(16)) * 300_000 + _token_table(),
    ],
    ids=["digits", "zeros", "token tables", "marker tables"],
)
def test_searches_end(content: Callable[[], bytes]) -> None:
    assert cost(looked_at(kernel(content()))) == ""


def test_names_that_are_everywhere() -> None:
    """The packed form of one name, again and again in the middle of others."""
    symbols = [("t" + "_text" * 80, BASE + 16 * index) for index in range(2000)]
    image = kernel(build_kallsyms(symbols, layout="new", place=0, base=BASE))
    assert cost(looked_at(image)) == ""


def test_notes_that_overlap() -> None:
    """4,095 segments of notes over one mebibyte: 4 GiB of them."""
    count, size = 4095, 1 << 20
    note = struct.pack("<3I4s", 4, 200, 1, b"Xen\0") + bytes(200)
    at = 64 + 56 * (count + 1)
    load = struct.pack("<IIQQQQQQ", 1, 7, at, BASE, 0x1000000, size, size, 4096)
    rows = load + struct.pack("<IIQQQQQQ", 4, 4, at, 0, 0, size, size, 4) * count
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 2, 62, 1, 0x1000000, 64, 0, 0, 64, 56, count + 1, 64, 0, 0)
    content = note * (size // len(note) + 1)
    image = header + rows + content[:size]
    assert cost(looked_at(image)) == ""
    shifted = [struct.pack("<IIQQQQQQ", 4, 4, at + 4 * index, 0, 0, size - 4 * index, 0, 4) for index in range(count)]
    assert cost(looked_at(header + load + b"".join(shifted) + content[:size])) == ""


def test_symbol_tables_that_overlap() -> None:
    symbols = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, BASE, 0) * 40_000
    strings = b"\0" + b"n" * 600
    image = bytearray(
        build_elf(
            [(BASE, 0x1000000, bytes(4096), 4096)],
            entry=0x1000000,
            sections=[(b".symtab", 2, symbols, 2, 24), (b".strtab", 3, strings, 0, 0)],
        )
    )
    (at,) = struct.unpack_from("<Q", image, 40)
    (count,) = struct.unpack_from("<H", image, 60)
    rows = bytes(image[at : at + 64 * count])
    table = rows + rows[64:128] * 3000
    struct.pack_into("<Q", image, 40, len(image))
    struct.pack_into("<H", image, 60, count + 3000)
    assert cost(looked_at(bytes(image) + table)) == ""


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (lambda: b"\x02\x21\x4c\x18" + b"\1\0\0\0\0" * (300 << 10) + struct.pack("<I", 1 << 28), "pieces so small"),
        (lambda: b"\x02\x21\x4c\x18" * (300 << 10) + struct.pack("<I", 1 << 28), "pieces so small"),
        (
            lambda: b"\x02\x21\x4c\x18" + b"\2\0\0\0\x10a\x02\x21\x4c\x18" * (300 << 10) + struct.pack("<I", 1 << 28),
            "pieces so small",
        ),
        (lambda: gzip.compress(bytes(100 << 20), 0, mtime=0), ""),
        (lambda: gzip.compress(bytes(200 << 20), 1, mtime=0), ""),
        (lambda: gzip.compress(bytes(1 << 20), mtime=0)[:-4] + b"\xff" * 4, "announces"),
    ],
    ids=["LZ4 blocks of nothing", "LZ4 frames of nothing", "LZ4 frames of a byte", "stored", "zeros", "announced"],
)
def test_payloads(payload: Callable[[], bytes], sentence: str) -> None:
    packed = payload()

    def work() -> None:
        for _ in unpack_pieces(packed):
            pass

    assert sentence in cost(work)
    assert "BUG" not in cost(looked_at(build_bzimage(packed)))


def packaged(tar: bytes) -> bytes:
    return b"!<arch>\n" + ar_member(b"debian-binary", b"2.0\n") + ar_member(b"data.tar.zst", zstandard.compress(tar))


def header(kind: bytes, size: int, name: str = "x") -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


def sparse() -> bytes:
    """A file whose map of holes has a number of 64 MiB."""
    words = b"".join(b"%d %s\n" % (len(word) + 4, word) for word in (b"GNU.sparse.major=1", b"GNU.sparse.minor=0"))
    return header(b"x", len(words)) + words.ljust(512, b"\0") + header(b"0", 64 << 20) + b"1" * (64 << 20)


@pytest.mark.parametrize(
    ("tar", "sentence"),
    [
        (lambda: header(b"x", 3 << 30) + bytes(300 << 20), "headers have more than 2 MiB"),
        (lambda: header(b"L", 3 << 30) + bytes(100 << 20), "headers have more than 2 MiB"),
        (lambda: header(b"5", 1 << 30) + header(b"x", 64 << 20) + bytes(100 << 20), "headers have more than 2 MiB"),
        (lambda: header(b"L", 2) + b"x".ljust(512, b"\0"), "damaged"),
        (lambda: (header(b"x", 1) + bytes(512)) * 2000, "damaged"),
        (lambda: header(b"0", 0) * 60_000, "more than 50000 members"),
        (sparse, "damaged"),
        (lambda: header(b"0", 3 << 30) + bytes(200 << 20), "damaged"),
    ],
    ids=["PAX", "long name", "behind a lie", "no end", "chain", "members", "holes", "short"],
)
def test_packages(tar: Callable[[], bytes], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.deb"
    path.write_bytes(packaged(tar()))
    assert sentence in cost(lambda: extract(path, ["boot/*"], tmp_path / "out"))


def test_many_symbols_at_one_address() -> None:
    count = 400_000
    symbols = Symbols.build([f"Tname_{index}" for index in range(count)], [BASE] * count, BASE, BASE + 0x1000)
    begun = time.process_time()
    for index in range(5000):
        assert symbols.name_at(BASE + index % 16) == ("name_0", index % 16)
    assert time.process_time() - begun < slowness()


def test_a_system_map_of_lines() -> None:
    assert "characters" in cost(lambda: symbols_from_system_map("0 t a\n" * (20 << 20)))
    assert cost(lambda: symbols_from_system_map("0 t a\n" * (1 << 20))) == ""


def test_the_measure_measures() -> None:
    """The counter-case. The kernel counts pages in batches (mm/memory.c, SPLIT_RSS_COUNTING), so a byte more is not enough."""
    with pytest.raises(AssertionError):
        cost(lambda: bytearray(b"x") * (MEMORY + (MEMORY >> 4)))
    assert cost(lambda: 1 // 0).startswith("BUG: ZeroDivisionError")
