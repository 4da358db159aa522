"""The memory of a dump, read where it lies in the dump's files."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from efishim.dump.source import PIECE, ZEROES, DumpError, Source
from efishim.machine.host_work import PAGE_SHIFT
from efishim.machine.memory import PAGE, BusError, PhysicalMemory, Region

ADDRESSES = 1 << 52
MAX_RANGES = 4096


@dataclass(frozen=True, slots=True)
class Range:
    """Memory at [start, start+size): `stored` bytes at an offset of a file, zeroes behind them."""

    start: int
    size: int
    source: Source | None = None
    offset: int = 0
    stored: int = 0

    @property
    def end(self) -> int:
        """First address after it."""
        return self.start + self.size

    def read(self, at: int, size: int) -> bytes:
        """Bytes from the address `at` on, all of them within the range."""
        inside = at - self.start
        there = max(min(size, self.stored - inside), 0)
        data = self.source.read(self.offset + inside, there) if self.source is not None and there else b""
        if len(data) < there:
            raise DumpError("a file of the dump became shorter while it was read")
        return data.ljust(size, b"\0")

    def content(self) -> Iterator[tuple[int, bytes]]:
        """(address, bytes) of all that is not zero, in pieces of at most PIECE bytes."""
        if self.source is None:
            return
        for offset, size in self.source.content(self.offset, self.stored):
            for at in range(offset, offset + size, PIECE):
                data = self.source.read(at, min(PIECE, offset + size - at))
                if data != (ZEROES if len(data) == PIECE else bytes(len(data))):
                    yield self.start + at - self.offset, data


def ordered(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """By address. Raises DumpError for ranges that overlap, that no processor has addresses for, and for none at all."""
    found = sorted((one for one in ranges if one.size), key=lambda one: one.start)
    if not found:
        raise DumpError("the dump has no memory")
    if len(found) > MAX_RANGES:
        raise DumpError(f"the dump has {len(found)} ranges of memory; {MAX_RANGES} are the most")
    for one in found:
        if one.start < 0 or one.end > ADDRESSES:
            raise DumpError(f"the dump has memory at {one.start:#x}, {one.size:#x} bytes, beyond what a processor can address")
    for one, two in pairwise(found):
        if two.start < one.end:
            raise DumpError(
                f"two ranges of the dump have memory at {two.start:#x}",
                hint="QEMU's dump-guest-memory writes each page once when it is told nothing about paging (without -p)",
            )
    return tuple(found)


class DumpMemory(PhysicalMemory):
    """The ranges of a dump by physical address, read-only; those that touch are one region. Memory comes in pages: what a
    range leaves of its first and last one reads as zeroes.
    """

    def __init__(self, ranges: tuple[Range, ...]) -> None:
        super().__init__()
        self._ranges = ranges
        self._starts = [one.start for one in ranges]
        nothing = mmap.mmap(-1, PAGE)  # a region's bytes on the host; `read` never looks there
        whole: list[tuple[int, int]] = []
        for one in ranges:
            start, end = one.start // PAGE * PAGE, -(-one.end // PAGE) * PAGE
            if whole and start <= whole[-1][1]:
                whole[-1] = whole[-1][0], end
            else:
                whole.append((start, end))
        self._regions = [Region(start, end - start, False, "dump", nothing) for start, end in whole]

    def find(self, address: int, size: int = 1) -> Region | None:
        """As of any memory; there may be thousands of regions here, so they are not looked through one by one."""
        index = bisect_right(self._regions, address, key=lambda region: region.start) - 1
        if index >= 0 and address + size <= self._regions[index].end:
            return self._regions[index]
        return None

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a physical address. Raises BusError unless the dump has them all, DumpError when a file changed."""
        self.work.spend(1 + (size >> PAGE_SHIFT))
        if size < 0 or self.find(address, size) is None:
            raise BusError(address, size)
        index = max(bisect_right(self._starts, address) - 1, 0)
        one = self._ranges[index]
        if one.start <= address and address + size <= one.end:
            return one.read(address, size)
        out = bytearray(size)
        for one in self._ranges[index:]:
            low, high = max(one.start, address), min(one.end, address + size)
            if low >= address + size:
                break
            if low < high:
                out[low - address : high - address] = one.read(low, high - low)
        return bytes(out)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """A dump is looked at and not changed."""
        raise BusError(address, len(data))
