"""Places the firmware in the memory that a provider describes.

From the top of the memory below 4 GiB down, in the order of OVMF: stack, boot services code and data, page tables, then
the bins for ACPI, reserved and runtime memory. Everything below stays free: with the default placement nothing of the
firmware lies between 1 MiB and the bins, so that a kernel which wants 0x1000000 gets it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from efishim.errors import ProviderError
from efishim.firmware.memory.memory_map import RAM_ATTRIBUTES, TOP, AllocateType, MemoryMap, MemoryType
from efishim.firmware.memory.paging import tables_needed
from efishim.machine.memory import PAGE, PhysicalMemory
from efishim.wire.uefi import EFI_MEMORY_RUNTIME, EFI_MEMORY_UC, STACK_SIZE

FOUR_GIB = 1 << 32

E820_TYPES = {
    1: MemoryType.CONVENTIONAL,
    2: MemoryType.RESERVED,
    3: MemoryType.ACPI_RECLAIM,
    4: MemoryType.ACPI_NVS,
    5: MemoryType.UNUSABLE,
    7: MemoryType.PERSISTENT,
}
"""ACPI 6.5, table 15.2, and its counterparts in UEFI (table 15.6 there). Anything else is reserved."""

REGION_LIMIT = 1024

BINS = (
    (MemoryType.RUNTIME_SERVICES_DATA, 256),
    (MemoryType.RUNTIME_SERVICES_CODE, 256),
    (MemoryType.RESERVED, 128),
    (MemoryType.ACPI_RECLAIM, 18),
    (MemoryType.ACPI_NVS, 128),
)
"""From low to high, with their pages: OVMF's."""

TABLE_PAGES = 3
STUB_PAGES = 4
EXCEPTION_PAGES = 2

Region = tuple[int, int, int]
"""(start, size in bytes, e820 type), as boot protocols give it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Addresses of the firmware's own areas."""

    runtime_data: int
    stubs: int
    """Runtime code: STUB_PAGES pages."""
    exceptions: int
    """Boot services code: EXCEPTION_PAGES pages."""
    descriptor_tables: int
    """Boot services data: GDT and IDT, two pages."""
    boot_tables: int
    """Boot services data: the boot services table, one page."""
    page_tables: int
    stack_top: int
    mapped: int
    """The identity map covers [0, mapped)."""


def sort_out(regions: Iterable[Region]) -> list[tuple[int, int, MemoryType]]:
    """(start, end, type) without overlaps, in whole pages. Raises ProviderError when there is nothing to go by.

    Where regions overlap, memory in use wins over free memory, as in the kernel's own reading of an e820
    map (arch/x86/kernel/e820.c). Free memory is cut to whole pages, everything else grows to whole pages.
    """
    pieces: list[tuple[int, int, MemoryType]] = []
    for start, size, e820 in regions:
        kind = E820_TYPES.get(e820, MemoryType.RESERVED)
        inwards, outwards = -(-start // PAGE) * PAGE, start // PAGE * PAGE
        end = start + size
        free = kind == MemoryType.CONVENTIONAL
        low, high = (inwards, end // PAGE * PAGE) if free else (outwards, -(-end // PAGE) * PAGE)
        if size > 0 and low < high <= 1 << 52:
            pieces.append((low, high, kind))
    if len(pieces) > REGION_LIMIT:
        raise ProviderError(f"the memory map has {len(pieces)} regions, more than any machine's")
    edges = sorted({edge for start, end, _ in pieces for edge in (start, end)})
    found: list[tuple[int, int, MemoryType]] = []
    for low, high in pairwise(edges):
        kinds = [kind for start, end, kind in pieces if start <= low and high <= end]
        if not kinds:
            continue
        kind = max(kinds, key=lambda k: (k != MemoryType.CONVENTIONAL, k))
        if found and found[-1][1] == low and found[-1][2] == kind:
            found[-1] = (found[-1][0], high, kind)
        else:
            found.append((low, high, kind))
    return found


def build_map(
    memory: PhysicalMemory,
    regions: Iterable[Region],
    mmio: Iterable[tuple[int, int]] = (),
    reserved: Iterable[tuple[int, int]] = (),
    held: Iterable[tuple[int, int]] = (),
    *,
    top: int = TOP,
) -> MemoryMap:
    """The memory map before the firmware takes its share. `mmio` are (start, size) of devices that runtime services
    need mapped, `reserved` (start, size) of what a loader has put into memory already, `held` (start, size) of free memory that
    becomes boot services data. Nothing from `top` on is allocated.
    """
    memory_map = MemoryMap(top)
    for start, end, kind in sort_out(regions):
        backed = memory.find(start) is not None
        memory_map.add(start, end, kind, RAM_ATTRIBUTES if backed else EFI_MEMORY_UC)
    for start, size in mmio:
        memory_map.add(start, start + size, MemoryType.MMIO, EFI_MEMORY_UC | EFI_MEMORY_RUNTIME)
    for start, size in reserved:
        _reserve(memory_map, start, size)
    for start, size in held:
        for free in memory_map.overlapping(start, start + size):
            if free.type == MemoryType.CONVENTIONAL:
                memory_map.fix(max(free.start, start), min(free.end, start + size), MemoryType.BOOT_SERVICES_DATA)
    if memory_map.overlapping(0, PAGE) and memory_map.overlapping(0, PAGE)[0].type == MemoryType.CONVENTIONAL:
        # Page 0 is never allocated, so that NULL is never the address of anything.
        memory_map.fix(0, PAGE, MemoryType.BOOT_SERVICES_CODE)
    return memory_map


def _reserve(memory_map: MemoryMap, start: int, size: int) -> None:
    """EfiLoaderData, as if a loader had allocated the pages that hold [start, start+size). Only free memory changes its
    type: memory that is in use already keeps its type.
    """
    low, high = start // PAGE * PAGE, -(-(start + size) // PAGE) * PAGE
    if size <= 0 or start < 0:
        return
    for held in memory_map.overlapping(low, high):
        if held.type == MemoryType.CONVENTIONAL:
            first, end = max(held.start, low), min(held.end, high)
            memory_map.allocate(AllocateType.ADDRESS, MemoryType.LOADER_DATA, (end - first) // PAGE, first)


def place(memory_map: MemoryMap, *, width: int = 8, room: tuple[int, int] | None = None) -> Placement:
    """Take the firmware's areas out of the map; `width` is that of its pointers. `room` is free memory from a start to an end
    that the machine's firmware has for all of them: the bins at its start, the others at its end, and boot services data
    between them. Raises ProviderError when there is no room below 4 GiB.
    """
    conventional = [d for d in memory_map.ranges() if d.type == MemoryType.CONVENTIONAL]
    mapped = max(FOUR_GIB, *(d.end for d in memory_map.ranges() if d.attributes & RAM_ATTRIBUTES == RAM_ATTRIBUTES), 0)
    if width == 4:
        mapped = FOUR_GIB
    table_bytes = tables_needed(mapped, width) * PAGE
    own = STACK_SIZE + (EXCEPTION_PAGES + 2 + 1) * PAGE + table_bytes
    bins = sum(pages for _, pages in BINS) * PAGE
    need = own + bins
    large = [d for d in conventional if min(d.end, FOUR_GIB) - d.start >= need]
    if not large:
        raise ProviderError(
            f"no {need >> 10} KiB of free memory below 4 GiB for the firmware",
            hint="give the guest more memory with -m",
        )
    fits = room is not None and room[1] - room[0] >= need and any(d.start <= room[0] and room[1] <= d.end for d in large)
    given = room if fits else None
    at = given[1] if given is not None else min(large[-1].end, FOUR_GIB)

    def take(size: int, kind: MemoryType) -> int:
        nonlocal at
        at -= size
        memory_map.fix(at, at + size, kind)
        return at

    stack = take(STACK_SIZE, MemoryType.BOOT_SERVICES_DATA)
    exceptions = take(EXCEPTION_PAGES * PAGE, MemoryType.BOOT_SERVICES_CODE)
    descriptor_tables = take(2 * PAGE, MemoryType.BOOT_SERVICES_DATA)
    boot_tables = take(PAGE, MemoryType.BOOT_SERVICES_DATA)
    page_tables = take(table_bytes, MemoryType.BOOT_SERVICES_DATA)
    if given is not None and at > given[0] + bins:
        take(at - given[0] - bins, MemoryType.BOOT_SERVICES_DATA)
    tops: dict[MemoryType, int] = {}
    for kind, pages in reversed(BINS):
        memory_map.keep_bin(kind, at - pages * PAGE, at)
        tops[kind] = at
        at -= pages * PAGE
    runtime_data = tops[MemoryType.RUNTIME_SERVICES_DATA] - TABLE_PAGES * PAGE
    code = tops[MemoryType.RUNTIME_SERVICES_CODE] - STUB_PAGES * PAGE
    memory_map.fix(runtime_data, runtime_data + TABLE_PAGES * PAGE, MemoryType.RUNTIME_SERVICES_DATA)
    memory_map.fix(code, code + STUB_PAGES * PAGE, MemoryType.RUNTIME_SERVICES_CODE)
    return Placement(
        runtime_data=runtime_data,
        stubs=code,
        exceptions=exceptions,
        descriptor_tables=descriptor_tables,
        boot_tables=boot_tables,
        page_tables=page_tables,
        stack_top=stack + STACK_SIZE,
        mapped=mapped,
    )
