"""The memory map and the page allocator (UEFI 2.10, 7.2).

Pages move between types, ranges of one type and attribute melt into one descriptor, and every change gives a new
MapKey. Allocations come from the top down and in EDK II's order: from the bin of their type, then below all bins,
then anywhere. The bins keep run-time and ACPI memory together, so that its place does not depend on what an image
allocates. Addresses and ends are in bytes, ends are exclusive.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise

from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.machine.memory import PAGE
from efishim.wire.uefi import EFI_MEMORY_RUNTIME, EFI_MEMORY_UC, EFI_MEMORY_WB, EFI_MEMORY_WC, EFI_MEMORY_WT

RAM_ATTRIBUTES = EFI_MEMORY_UC | EFI_MEMORY_WC | EFI_MEMORY_WT | EFI_MEMORY_WB
TOP = 1 << 64
FIRST_OEM_TYPE = 0x7000_0000
"""0x70000000 to 0x7fffffff belong to OEMs, 0x80000000 and above to OS loaders (table 7.6)."""


class MemoryType(IntEnum):
    """EFI_MEMORY_TYPE (7.2.1)."""

    RESERVED = 0
    LOADER_CODE = 1
    LOADER_DATA = 2
    BOOT_SERVICES_CODE = 3
    BOOT_SERVICES_DATA = 4
    RUNTIME_SERVICES_CODE = 5
    RUNTIME_SERVICES_DATA = 6
    CONVENTIONAL = 7
    UNUSABLE = 8
    ACPI_RECLAIM = 9
    ACPI_NVS = 10
    MMIO = 11
    MMIO_PORT_SPACE = 12
    PAL_CODE = 13
    PERSISTENT = 14
    UNACCEPTED = 15


RUNTIME_TYPES = frozenset({MemoryType.RUNTIME_SERVICES_CODE, MemoryType.RUNTIME_SERVICES_DATA})
CODE_TYPES = frozenset({MemoryType.LOADER_CODE, MemoryType.BOOT_SERVICES_CODE, MemoryType.RUNTIME_SERVICES_CODE})
REFUSED_TYPES = frozenset({MemoryType.CONVENTIONAL, MemoryType.PERSISTENT, MemoryType.UNACCEPTED})


class AllocateType(IntEnum):
    """EFI_ALLOCATE_TYPE (7.2.1)."""

    ANY_PAGES = 0
    MAX_ADDRESS = 1
    ADDRESS = 2


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A run of pages. `type` is a MemoryType or an OEM's or OS loader's own number."""

    start: int
    end: int
    type: int
    attributes: int

    @property
    def pages(self) -> int:
        """NumberOfPages."""
        return (self.end - self.start) // PAGE

    def melts_with(self, after: Descriptor) -> bool:
        """Is `after` the direct continuation of the same kind?"""
        return self.end == after.start and self.type == after.type and self.attributes == after.attributes


@dataclass(frozen=True, slots=True)
class Bin:
    """A place kept for one memory type; what is free in it is reported as that type."""

    type: MemoryType
    start: int
    end: int


def check_type(memory_type: int) -> None:
    """Refuse the types that must not be allocated (7.2.1, 7.2.4)."""
    defined = memory_type <= MemoryType.UNACCEPTED or memory_type >= FIRST_OEM_TYPE
    demand(defined and memory_type not in REFUSED_TYPES)


def with_runtime(attributes: int, memory_type: int) -> int:
    """Attributes of a descriptor: memory of the runtime services carries EFI_MEMORY_RUNTIME."""
    return attributes | EFI_MEMORY_RUNTIME if memory_type in RUNTIME_TYPES else attributes & ~EFI_MEMORY_RUNTIME


class MemoryMap:
    """All memory that firmware knows of. Ranges never overlap, are sorted, and are as few as possible."""

    def __init__(self, top: int = TOP) -> None:
        """Memory from `top` on is in the map, but not allocated: 32-bit firmware cannot name it."""
        self._top = top
        self._ranges: list[Descriptor] = []
        self._bins: list[Bin] = []
        self._fixed: list[tuple[int, int]] = []
        self.key = 0x1000
        """MapKey: a new number after every change (never the same again in one run)."""
        self.on_change: Callable[[], None] = lambda: None

    # -- building -----------------------------------------------------------------------------------------------

    def add(self, start: int, end: int, memory_type: int, attributes: int = RAM_ATTRIBUTES) -> None:
        """Tell the map about memory that it does not know yet. Memory that is not conventional is never freed.

        Raises ValueError when a part is known already or the range is not made of whole pages.
        """
        if start % PAGE or end % PAGE or not 0 <= start < end <= TOP:
            raise ValueError(f"{start:#x}..{end:#x} is not made of whole pages")
        index = self._index(start)
        neighbours = self._ranges[max(index, 0) : index + 2]
        if any(start < other.end and other.start < end for other in neighbours):
            raise ValueError(f"{start:#x}..{end:#x} is in the memory map already")
        self._ranges.insert(index + 1, Descriptor(start, end, memory_type, attributes))
        if memory_type != MemoryType.CONVENTIONAL:
            self._fixed.append((start, end))
        self._melt(index, index + 3)
        self._changed()

    def fix(self, start: int, end: int, memory_type: int) -> None:
        """Take conventional memory for the firmware permanently: it is never freed. Raises EfiError(NOT_FOUND)."""
        self._take(start, end, memory_type)
        self._fixed.append((start, end))

    def keep_bin(self, memory_type: MemoryType, start: int, end: int) -> None:
        """Keep a range of conventional memory for one type."""
        demand(self._is_free(start, end), Status.NOT_FOUND)
        self._bins.append(Bin(memory_type, start, end))
        self._bins.sort(key=lambda b: b.start)
        self._changed()

    # -- the services -------------------------------------------------------------------------------------------

    def allocate(self, how: int, memory_type: int, pages: int, address: int = 0) -> int:
        """AllocatePages: the address of the pages. `address` is the limit or the place, by `how`.

        Raises EfiError: INVALID_PARAMETER, OUT_OF_RESOURCES, NOT_FOUND.
        """
        demand(how <= AllocateType.ADDRESS)
        check_type(memory_type)
        size = pages * PAGE
        if how == AllocateType.ADDRESS:
            demand(pages > 0 and address % PAGE == 0 and address + size <= self._top, Status.NOT_FOUND)
            self._take(address, address + size, memory_type)
            return address
        limit = self._top if how == AllocateType.ANY_PAGES else min(address + 1, self._top)
        demand(pages > 0 and size <= TOP, Status.OUT_OF_RESOURCES)
        place = self._find(memory_type, size, limit)
        if place is None:
            raise EfiError(Status.OUT_OF_RESOURCES)
        self._take(place, place + size, memory_type)
        return place

    def free(self, address: int, pages: int) -> None:
        """FreePages. Raises EfiError: INVALID_PARAMETER for a crooked request, NOT_FOUND for pages not allocated."""
        demand(address % PAGE == 0 and pages > 0)
        end = address + pages * PAGE
        demand(end <= TOP)
        held = self.overlapping(address, end)
        covered = sum(min(r.end, end) - max(r.start, address) for r in held)
        allocated = covered == end - address and all(r.type != MemoryType.CONVENTIONAL for r in held)
        fixed = any(start < end and address < stop for start, stop in self._fixed)
        demand(allocated and not fixed, Status.NOT_FOUND)
        self._convert(address, end, MemoryType.CONVENTIONAL)

    def descriptors(self) -> list[Descriptor]:
        """What GetMemoryMap reports: sorted, melted, free memory in a bin shown as the bin's type."""
        shown: list[Descriptor] = []
        for entry in self._ranges:
            for piece in self._by_bins(entry) if entry.type == MemoryType.CONVENTIONAL else (entry,):
                if shown and shown[-1].melts_with(piece):
                    shown[-1] = replace(shown[-1], end=piece.end)
                else:
                    shown.append(piece)
        return shown

    # -- looking ------------------------------------------------------------------------------------------------

    def ranges(self) -> tuple[Descriptor, ...]:
        """The ranges as they are kept, without the bins."""
        return tuple(self._ranges)

    def overlapping(self, start: int, end: int) -> list[Descriptor]:
        """The ranges that share memory with start..end."""
        index = max(self._index(start), 0)
        found = []
        for entry in self._ranges[index:]:
            if entry.start >= end:
                break
            if entry.end > start:
                found.append(entry)
        return found

    def find(self, address: int) -> Descriptor | None:
        """The range that holds an address."""
        index = self._index(address)
        if index >= 0 and address < self._ranges[index].end:
            return self._ranges[index]
        return None

    def largest_free(self, limit: int) -> Descriptor | None:
        """The largest conventional range that ends below `limit`; the highest of equals."""
        free = [r for r in self._ranges if r.type == MemoryType.CONVENTIONAL and r.end <= limit]
        return max(free, key=lambda r: (r.end - r.start, r.start), default=None)

    # -- inside -------------------------------------------------------------------------------------------------

    def _index(self, address: int) -> int:
        return bisect_right(self._ranges, address, key=lambda r: r.start) - 1

    def _is_free(self, start: int, end: int) -> bool:
        held = self.overlapping(start, end)
        return (
            bool(held)
            and held[0].start <= start
            and end <= held[-1].end
            and all(r.type == MemoryType.CONVENTIONAL for r in held)
            and all(a.end == b.start for a, b in pairwise(held))
        )

    def _find(self, memory_type: int, size: int, limit: int) -> int | None:
        own = next((b for b in self._bins if b.type == memory_type), None)
        if own and (place := self._highest(size, own.start, min(limit, own.end))) is not None:
            return place
        if self._bins and (place := self._highest(size, 0, min(limit, self._bins[0].start))) is not None:
            return place
        return self._highest(size, 0, limit)

    def _highest(self, size: int, bottom: int, limit: int) -> int | None:
        limit &= -PAGE
        for entry in reversed(self._ranges):
            start, end = max(entry.start, bottom), min(entry.end, limit)
            if entry.type == MemoryType.CONVENTIONAL and end - start >= size:
                return end - size
        return None

    def _take(self, start: int, end: int, memory_type: int) -> None:
        demand(self._is_free(start, end), Status.NOT_FOUND)
        self._convert(start, end, memory_type)

    def _convert(self, start: int, end: int, memory_type: int) -> None:
        """Give a known range another type, splitting what it cuts."""
        held = self.overlapping(start, end)
        first = self._ranges.index(held[0], max(self._index(start), 0))
        pieces: list[Descriptor] = []
        for entry in held:
            if entry.start < start:
                pieces.append(replace(entry, end=start))
            inside = max(entry.start, start), min(entry.end, end)
            pieces.append(Descriptor(*inside, memory_type, with_runtime(entry.attributes, memory_type)))
            if entry.end > end:
                pieces.append(replace(entry, start=end))
        self._ranges[first : first + len(held)] = pieces
        self._melt(first - 1, first + len(pieces) + 1)
        self._changed()

    def _melt(self, low: int, high: int) -> None:
        low, high = max(low, 0), min(high, len(self._ranges))
        melted: list[Descriptor] = []
        for entry in self._ranges[low:high]:
            if melted and melted[-1].melts_with(entry):
                melted[-1] = replace(melted[-1], end=entry.end)
            else:
                melted.append(entry)
        self._ranges[low:high] = melted

    def _by_bins(self, entry: Descriptor) -> list[Descriptor]:
        pieces: list[Descriptor] = []
        at = entry.start
        for kept in self._bins:
            start, end = max(kept.start, at), min(kept.end, entry.end)
            if start >= end:
                continue
            if at < start:
                pieces.append(replace(entry, start=at, end=start))
            pieces.append(Descriptor(start, end, kept.type, with_runtime(entry.attributes, kept.type)))
            at = end
        if at < entry.end:
            pieces.append(replace(entry, start=at))
        return pieces

    def _changed(self) -> None:
        self.key += 1
        self.on_change()
