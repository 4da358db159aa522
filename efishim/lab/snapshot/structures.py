"""Names the structures in memory for the observer: ACPI, EFI, the kernel's own boot_params.

What a provider wrote it names itself (`provider.native_structures`). All of this reads what a guest may have changed: it stops
where something makes no sense.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from efishim.lab.snapshot.guest_read import Unreadable, read, read_layout
from efishim.machine.access_observer import ObservedRange
from efishim.machine.memory import PhysicalMemory
from efishim.provider import Structure
from efishim.wire import uefi
from efishim.wire.acpi import Facs, Fadt, Madt, Rsdp, SdtHeader, TableHead
from efishim.wire.bootparams import E820_TABLE, BootParams, E820Entry
from efishim.wire.layout import Layout, Leaf

TABLE_LIMIT = 64
TABLE_SIZE_LIMIT = 1 << 20
_LAYOUTS: dict[bytes, type[Layout]] = {b"FACP": Fadt, b"APIC": Madt}


@dataclass(frozen=True)
class Target:
    """A named structure of `size` bytes in guest-physical memory, with its fields if it has any; `since` and `until` are the
    instruction counts between which it was watched.
    """

    name: str
    address: int
    size: int
    leaves: tuple[Leaf, ...] = ()
    since: int = 0
    until: int = 0

    @classmethod
    def of(cls, structure: Structure, since: int = 0) -> Target:
        """From what a provider names."""
        return cls(structure.name, structure.address, structure.size, leaves_of(structure.layout, structure.size), since)

    def watched(self) -> ObservedRange:
        """What the observer has to watch. Raises MachineError when it is empty."""
        return ObservedRange(self.address, self.size)


def leaves_of(layout: type[Layout] | None, size: int) -> tuple[Leaf, ...]:
    """The leaves of a layout that lie within `size` bytes."""
    return tuple(leaf for leaf in (layout.leaves() if layout else ()) if leaf.offset + leaf.size <= size)


def acpi_targets(memory: PhysicalMemory, rsdp: int, since: int = 0) -> list[Target]:
    """The RSDP, the XSDT, and what they lead to, DSDT and FACS included."""
    return list({target.address: target for target in _acpi(memory, rsdp, since)}.values())


def _acpi(memory: PhysicalMemory, rsdp: int, since: int) -> Iterator[Target]:
    try:
        pointer = Rsdp.parse(read(memory, rsdp, Rsdp.SIZE, "the RSDP"))
        yield _target("RSDP", rsdp, Rsdp.SIZE, Rsdp, since)
        xsdt = pointer.xsdt_address
        size = _length(memory, xsdt)
        count = min((size - SdtHeader.SIZE) // 8, TABLE_LIMIT)
        entries = tuple(Leaf(f"entry[{number}]", SdtHeader.SIZE + 8 * number, 8, "number") for number in range(count))
        yield Target("XSDT", xsdt, size, (*leaves_of(SdtHeader, size), *entries), since)
        raw = read(memory, xsdt + SdtHeader.SIZE, 8 * count, "the XSDT")
    except Unreadable:
        return
    for number in range(count):
        address = int.from_bytes(raw[8 * number : 8 * number + 8], "little")
        try:
            yield from _table(memory, address, since)
        except Unreadable:
            continue


def _table(memory: PhysicalMemory, address: int, since: int) -> Iterator[Target]:
    signature = read(memory, address, 4, "an ACPI table")
    size = _length(memory, address)
    yield _target(_name(signature), address, size, _LAYOUTS.get(signature, SdtHeader), since)
    if signature == b"FACP" and size >= 148:
        fadt = Fadt.parse(read(memory, address, size, "the FADT").ljust(Fadt.SIZE, b"\0"))
        for pointer in (fadt.x_dsdt or fadt.dsdt, fadt.x_firmware_ctrl or fadt.firmware_ctrl):
            if pointer:
                kind = read(memory, pointer, 4, "an ACPI table")
                layout = Facs if kind == b"FACS" else SdtHeader
                yield _target(_name(kind), pointer, _length(memory, pointer), layout, since)


def _length(memory: PhysicalMemory, address: int) -> int:
    size = read_layout(memory, address, TableHead, "an ACPI table").length
    if not 8 <= size <= TABLE_SIZE_LIMIT or memory.find(address, size) is None:
        raise Unreadable(f"the ACPI table at {address:#x} is {size} bytes long")
    return size


def _name(signature: bytes) -> str:
    return signature.decode("ascii", "backslashreplace")


def _target(name: str, address: int, size: int, layout: type[Layout], since: int) -> Target:
    return Target(name, address, size, leaves_of(layout, size), since)


def efi_targets(memory: PhysicalMemory, system_table: int, *, width: int = 8, since: int = 0) -> list[Target]:
    """The EFI system table and the tables that it points to; `width` is that of a pointer, 4 or 8 bytes."""
    layout = uefi.SystemTable
    try:
        table = layout.parse(read(memory, system_table, layout.sizeof(width), "the system table"), width)
    except Unreadable:
        return []
    found: list[tuple[str, int, type[Layout]]] = [(layout.NAME, system_table, layout)]
    if table.RuntimeServices:
        found.append((uefi.RuntimeServicesTable.NAME, table.RuntimeServices, uefi.RuntimeServicesTable))
    if table.BootServices:
        found.append((uefi.BootServicesTable.NAME, table.BootServices, uefi.BootServicesTable))
    entry = uefi.ConfigurationTable
    found += [
        (f"{entry.NAME}[{number}]", table.ConfigurationTable + number * entry.sizeof(width), entry)
        for number in range(min(table.NumberOfTableEntries, TABLE_LIMIT))
    ]
    return [
        Target(name, address, one.sizeof(width), one.leaves(width), since)
        for name, address, one in found
        if memory.find(address, one.sizeof(width)) is not None
    ]


def boot_params_target(name: str, address: int, e820_entries: int, since: int = 0) -> Target:
    """A struct boot_params, as the kernel's own copy, with the first `e820_entries` of its e820_table."""
    table = tuple(
        Leaf(f"e820_table[{number}].{leaf.name}", E820_TABLE + number * E820Entry.SIZE + leaf.offset, leaf.size, leaf.form)
        for number in range(min(e820_entries, 128))
        for leaf in E820Entry.leaves()
    )
    leaves = sorted((*BootParams.leaves(), *table), key=lambda leaf: leaf.offset)
    return Target(name, address, BootParams.SIZE, tuple(leaves), since)
