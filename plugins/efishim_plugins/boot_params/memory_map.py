"""Builds the e820 table, in boot_params and its setup_data extension, also from an EFI memory map.

Sources: zero-page.rst; drivers/firmware/efi/libstub/x86-stub.c (setup_e820); UEFI 2.10 section 7.2.3 (memory types).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from efishim.wire.bootparams import E820_MAX_ENTRIES_ZEROPAGE, BootParams, E820Entry, SetupData
from efishim.wire.uefi import MemoryDescriptor

if TYPE_CHECKING:
    from efishim.provider import EfiFacts, MemoryRange

RAM, RESERVED, ACPI, NVS, UNUSABLE, PMEM = 1, 2, 3, 4, 5, 7
SETUP_NONE, SETUP_E820_EXT, SETUP_EFI = 0, 1, 4
EFI_PAGE = 0x1000
EFI_MEMORY_RUNTIME = 1 << 63
LEAST_DESCRIPTOR = MemoryDescriptor.sizeof()

E820 = tuple[int, int, int]
"""(addr, size, type)."""

STUB_TYPES: Mapping[int, int] = {
    # EFI type -> e820 type as the kernel's own EFI stub converts them; what is missing is reserved
    **dict.fromkeys((1, 2, 3, 4, 7), RAM),
    8: UNUSABLE,
    9: ACPI,
    10: NVS,
    14: PMEM,
}


def ranges(memory_map: Iterable[MemoryRange]) -> list[E820]:
    """A platform's map in the numbers of e820, which are ACPI's."""
    return [(one.start, one.size, one.kind.value) for one in memory_map]


def put_table(params: BootParams, entries: list[E820], add_node: Callable[[int, bytes], None] | None = None) -> int:
    """Fill e820_table; more than 128 entries go to a SETUP_E820_EXT node through `add_node`, or are left out.

    Gives the number of entries that were left out.
    """
    first, rest = entries[:E820_MAX_ENTRIES_ZEROPAGE], entries[E820_MAX_ENTRIES_ZEROPAGE:]
    params.set_e820(first)
    if not rest or add_node is None:
        return len(rest)
    add_node(SETUP_E820_EXT, b"".join(E820Entry(addr=a, size=s, type=t).build() for a, s, t in rest))
    return 0


def node(kind: int, body: bytes, following: int) -> bytes:
    """One setup_data node; `following` is the address of the next."""
    return SetupData(next=following, type=kind, len=len(body)).build() + body


def descriptors(efi: EfiFacts) -> list[MemoryDescriptor]:
    """The firmware's memory map; empty when its descriptors are shorter than UEFI's."""
    step = efi.descriptor_size
    return MemoryDescriptor.rows(efi.memory_map[: len(efi.memory_map) // step * step], step) if step >= LEAST_DESCRIPTOR else []


def from_efi(efi: EfiFacts, types: Mapping[int, int] = STUB_TYPES) -> list[E820]:
    """An e820 table from the firmware's memory map: neighbours of one type become one entry."""
    table: list[E820] = []
    for one in sorted(descriptors(efi), key=lambda one: one.PhysicalStart):
        add(table, (one.PhysicalStart, one.NumberOfPages * EFI_PAGE, types.get(one.Type, RESERVED)))
    return table


def add(table: list[E820], entry: E820) -> None:
    """Append an entry, or make the last one longer when it continues it."""
    start, size, kind = entry
    if table and table[-1][2] == kind and table[-1][0] + table[-1][1] == start:
        table[-1] = (table[-1][0], table[-1][1] + size, kind)
    elif size:
        table.append(entry)


def overlaid(table: Iterable[E820], pieces: list[E820]) -> list[E820]:
    """The table with `pieces` in the place of what was there, ascending; neighbours of one type become one entry."""
    left = list(table)
    for start, size, _ in pieces:
        left = [part for entry in left for part in _without(entry, start, start + size)]
    merged: list[E820] = []
    for entry in sorted([*left, *pieces]):
        add(merged, entry)
    return merged


def _without(entry: E820, low: int, high: int) -> list[E820]:
    start, size, kind = entry
    parts = ((start, min(start + size, low)), (max(start, high), start + size))
    return [(first, end - first, kind) for first, end in parts if first < end]


def kept_ranges(efi: EfiFacts) -> list[E820]:
    """What the EFI stub tells as anything but RAM: what runtime services use, and what firmware keeps or reports."""
    kept: list[E820] = []
    for one in descriptors(efi):
        e820 = RESERVED if one.Attribute & EFI_MEMORY_RUNTIME else STUB_TYPES.get(one.Type, RESERVED)
        if e820 != RAM:
            kept.append((one.PhysicalStart, one.NumberOfPages * EFI_PAGE, e820))
    return kept


def runtime_part(efi: EfiFacts) -> bytes:
    """The descriptors of memory that runtime services use."""
    step = efi.descriptor_size
    return b"".join(
        efi.memory_map[number * step : (number + 1) * step]
        for number, one in enumerate(descriptors(efi))
        if one.Attribute & EFI_MEMORY_RUNTIME
    )
