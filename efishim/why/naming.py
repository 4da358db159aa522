"""Names the memory of a machine at the meeting point: what lies where, and by which name it is the same on another machine."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress

from efishim.lab.snapshot.structures import acpi_targets
from efishim.machine.memory import PAGE, BusError, PhysicalMemory
from efishim.why.side import Side
from efishim.wire.bootparams import SETUP_INDIRECT, SETUP_TYPES, BootParams, SetupData, SetupIndirect
from efishim.wire.uefi import MemoryDescriptor
from efishim.wire.x86 import CR0_PG

DESCRIPTOR = MemoryDescriptor.sizeof(8)
MAX_NODES = 64
MAX_TABLES = 4096
MAX_CMDLINE = 4096
ADDRESS = 0x000F_FFFF_FFFF_F000
PRESENT, LARGE = 1, 1 << 7

COMMAND_LINE, RAMDISK, SETUP_DATA, EFI, PAGE_TABLES = "command line", "ramdisk", "setup_data", "efi_info", "page tables"
GDT, IDT, STACK = "gdt", "idt", "register rsp"
ORDINARY = frozenset({1, 2, 7})
"""EfiLoaderCode, EfiLoaderData, EfiConventionalMemory: what a kernel takes for its own (UEFI 2.10, 7.2)."""

Named = tuple[int, int, str]
"""Start, end, name."""


class Names:
    """Ranges that do not overlap; of two claims to one address the earlier counts."""

    def __init__(self, claims: Iterator[Named], highest: int) -> None:
        self._starts: list[int] = []
        self._rows: list[Named] = []
        for start, end, name in claims:
            if 0 <= start < end <= highest:
                self._claim(start, end, name)

    def _claim(self, start: int, end: int, name: str) -> None:
        at = bisect_right(self._starts, start)
        if at and self._rows[at - 1][1] > start:
            start = self._rows[at - 1][1]
        while start < end:
            after = self._starts[at] if at < len(self._starts) else end
            if start < min(after, end):
                self._starts.insert(at, start)
                self._rows.insert(at, (start, min(after, end), name))
                at += 1
            if at >= len(self._rows):
                break
            start = max(start, self._rows[at][1])
            at += 1

    def at(self, address: int) -> tuple[str, int]:
        """The name, empty for none, and up to where it reaches."""
        index = bisect_right(self._starts, address)
        if index and self._rows[index - 1][1] > address:
            return self._rows[index - 1][2], self._rows[index - 1][1]
        return "", self._starts[index] if index < len(self._starts) else 1 << 64


def names_of(side: Side) -> Names:
    """What lies in a machine's memory, except boot_params itself and the kernel."""
    highest = max(region.end for region in side.machine.memory)
    return Names(_claims(side), highest)


def _claims(side: Side) -> Iterator[Named]:
    memory, cpu = side.machine.memory, side.machine.cpu
    params = BootParams.parse(memory.read(side.boot_params, BootParams.SIZE))
    header = params.hdr
    line = header.cmd_line_ptr | params.ext_cmd_line_ptr << 32
    if line:
        with suppress(BusError):
            yield line, line + len(memory.c_string(line, MAX_CMDLINE)) + 1, COMMAND_LINE
    ramdisk = header.ramdisk_image | params.ext_ramdisk_image << 32
    yield ramdisk, ramdisk + (header.ramdisk_size | params.ext_ramdisk_size << 32), RAMDISK
    yield from setup_data(memory, header.setup_data)
    if cpu.get("cr0") & CR0_PG:
        yield from ((start, start + PAGE, PAGE_TABLES) for start in page_tables(memory, cpu.get("cr3")))
    yield cpu.get("gdtr.base"), cpu.get("gdtr.base") + cpu.get("gdtr.limit") + 1, GDT
    yield cpu.get("idtr.base"), cpu.get("idtr.base") + cpu.get("idtr.limit") + 1, IDT
    rsdp = side.booted.tables().get("rsdp") or params.acpi_rsdp_addr
    if rsdp:
        yield from ((one.address, one.address + one.size, f"ACPI {one.name}") for one in acpi_targets(memory, rsdp))
    for one in side.booted.structures:
        yield one.address, one.address + one.size, f"structure {one.name.partition('[')[0]}"
    yield from _efi(memory, params)
    stack = cpu.get("rsp") & -PAGE
    yield stack, stack + PAGE, STACK


def setup_data(memory: PhysicalMemory, first: int) -> Iterator[Named]:
    """The nodes of a chain, and what indirect ones point to; a chain that makes no sense ends there."""
    seen: set[int] = set()
    address = first
    while address and address not in seen and len(seen) < MAX_NODES:
        seen.add(address)
        try:
            head = SetupData.parse(memory.read(address, SetupData.SIZE))
            body = memory.read(address + SetupData.SIZE, min(head.len, 1 << 20))
        except BusError:
            return
        yield address, address + SetupData.SIZE + len(body), SETUP_DATA
        if head.type & SETUP_INDIRECT and len(body) >= SetupIndirect.SIZE:
            target = SetupIndirect.parse(body)
            yield target.addr, target.addr + target.len, SETUP_DATA
        address = head.next


def _efi(memory: PhysicalMemory, params: BootParams) -> Iterator[Named]:
    """EFI's memory map, and everything in it that belongs to the firmware alone."""
    info = params.efi_info
    start, size = info.efi_memmap | info.efi_memmap_hi << 32, info.efi_memmap_size
    if not info.efi_loader_signature or not size or info.efi_memdesc_size < DESCRIPTOR:
        return
    try:
        raw = memory.read(start, size)
    except BusError:
        return
    yield start, start + size, EFI
    system = info.efi_systab | info.efi_systab_hi << 32
    yield system, system + PAGE, EFI
    for at in range(0, size - DESCRIPTOR + 1, info.efi_memdesc_size):
        one = MemoryDescriptor.parse(raw[at : at + DESCRIPTOR])
        if one.Type not in ORDINARY:
            yield one.PhysicalStart, one.PhysicalStart + one.NumberOfPages * PAGE, EFI


def page_tables(memory: PhysicalMemory, cr3: int) -> list[int]:
    """Physical addresses of the tables of four levels that CR3 leads to."""
    found: dict[int, None] = {}
    level = [cr3 & ADDRESS]
    for depth in range(4, 0, -1):
        below: dict[int, None] = {}
        for table in level:
            if table in found or len(found) >= MAX_TABLES or memory.find(table, PAGE) is None:
                continue
            found[table] = None
            raw = memory.read(table, PAGE)
            for at in range(0, PAGE, 8):
                entry = int.from_bytes(raw[at : at + 8], "little")
                if entry & PRESENT and depth > 1 and not (depth < 4 and entry & LARGE):
                    below[entry & ADDRESS] = None
        level = list(below)
    return sorted(found)


def kind_of(number: int) -> str:
    """The kernel's name of a type of setup_data."""
    return SETUP_TYPES.get(number & ~SETUP_INDIRECT, f"type {number:#x}")
