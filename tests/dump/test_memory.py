"""The memory of a dump: ranges that touch are one region, gaps are none, and nothing can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.dump.memory import DumpMemory, Range, ordered
from efishim.dump.source import DumpError, open_source
from efishim.machine.memory import BusError


def test_reads_go_over_the_ranges_that_touch(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abcdef")
    source = open_source(tmp_path / "file")
    memory = DumpMemory(ordered([Range(0x2000, 4, source, 2, 4), Range(0x1FFE, 2, source, 0, 2), Range(0x2004, 16)]))
    assert memory.read(0x1FFE, 10) == b"abcdef\0\0\0\0"
    assert memory.read(0x2001, 2) == b"de"
    assert memory.u16(0x1FFE) == 0x6261
    assert memory.c_string(0x2000) == b"cdef"
    assert memory.read(0x1000, 0xFFE) == bytes(0xFFE)
    for address, size in ((0xFFF, 2), (0x2FFF, 2), (0, 1), (0x2000, -1)):
        with pytest.raises(BusError):
            memory.read(address, size)
    with pytest.raises(BusError):
        memory.write(0x2000, b"x")


def test_content_is_what_is_not_zero(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\0" * 0x30000 + b"x" + b"\0" * 0xFFFF)
    one = Range(0x10_0000, 0x50000, open_source(tmp_path / "file"), 0x10000, 0x30000)
    assert [(address, data.strip(b"\0")) for address, data in one.content()] == [(0x12_0000, b"x")]
    assert list(Range(0, 1 << 40).content()) == []


@pytest.mark.parametrize(
    ("ranges", "words"),
    [
        ([], "no memory"),
        ([Range(0, 0)], "no memory"),
        ([Range(0, 0x2000), Range(0x1000, 0x1000)], "two ranges of the dump have memory at 0x1000"),
        ([Range((1 << 52) - 1, 2)], "beyond"),
        ([Range(n * 2, 1) for n in range(5000)], "5000 ranges"),
    ],
)
def test_ranges_that_cannot_be_are_refused(ranges: list[Range], words: str) -> None:
    with pytest.raises(DumpError, match=words):
        ordered(ranges)
