"""Decodes what boot_params.efi_info points to: the EFI memory map and the system table with its configuration tables.

Source: UEFI Specification 2.10, sections 4.3 (system table), 4.6 (configuration tables) and 7.2 (memory descriptors).
"""

from __future__ import annotations

from efishim.lab.record import (
    ConfigurationTableView,
    EfiMemoryMapView,
    EfiMemoryView,
    EfiView,
    Hex,
    SystemTableView,
)
from efishim.lab.record.efi_view import MAX_DESCRIPTORS, MAX_TABLES
from efishim.lab.snapshot.guest_read import Unreadable, read
from efishim.machine.memory import PAGE, PhysicalMemory
from efishim.wire.bootparams import EFI32_LOADER_SIGNATURE, EFI64_LOADER_SIGNATURE, EfiInfo
from efishim.wire.guids import NAMES, guid_text
from efishim.wire.uefi import (
    MEMORY_ATTRIBUTES,
    MEMORY_TYPES,
    SYSTEM_TABLE_SIGNATURE,
    ConfigurationTable,
    MemoryDescriptor,
    SystemTable,
)

MAX_VENDOR = 128
"""Characters of the firmware vendor's name that are read."""


def efi_view(memory: PhysicalMemory, info: EfiInfo) -> EfiView:
    """Decode from physical memory, before the guest moved the runtime services to virtual addresses. Never raises."""
    shown, signature = str(info.values()["efi_loader_signature"]), info.efi_loader_signature
    if signature not in {EFI64_LOADER_SIGNATURE, EFI32_LOADER_SIGNATURE}:
        return EfiView(shown)
    return EfiView(
        shown,
        memory_map=memory_map_view(
            memory,
            info.efi_memmap_hi << 32 | info.efi_memmap,
            size=info.efi_memmap_size,
            descriptor_size=info.efi_memdesc_size,
            version=info.efi_memdesc_version,
        ),
        system_table=system_table_view(
            memory, info.efi_systab_hi << 32 | info.efi_systab, width=8 if signature == EFI64_LOADER_SIGNATURE else 4
        ),
    )


def attribute_names(attribute: int) -> tuple[str, ...]:
    """Names of the bits that are set; bits that no specification names appear as one hexadecimal number."""
    names = [name for bit, name in MEMORY_ATTRIBUTES if attribute & bit]
    rest = attribute & ~sum(bit for bit, _ in MEMORY_ATTRIBUTES)
    return (*names, f"{rest:#x}") if rest else tuple(names)


def memory_map_view(memory: PhysicalMemory, address: int, *, size: int, descriptor_size: int, version: int) -> EfiMemoryMapView:
    """Decode a memory map at a physical address; `size` and `descriptor_size` in bytes. Never raises."""
    step = descriptor_size
    problem = ""
    descriptors: list[EfiMemoryView] = []
    if step < MemoryDescriptor.sizeof() or step > PAGE:
        problem = f"descriptors of {step} bytes are not possible"
    else:
        count = min(size // step, MAX_DESCRIPTORS)
        if size // step > count:
            problem = f"only the first {MAX_DESCRIPTORS} of {size // step} descriptors are shown"
        elif size % step:
            problem = f"{size:#x} bytes are not a whole number of descriptors"
        try:
            raw = read(memory, address, count * step, "the memory map")
        except Unreadable as error:
            raw, problem = b"", str(error)
        descriptors = [_descriptor(one) for one in MemoryDescriptor.rows(raw, step)]
    return EfiMemoryMapView(Hex(address), Hex(size), Hex(step), Hex(version), tuple(descriptors), problem)


def _descriptor(raw: MemoryDescriptor) -> EfiMemoryView:
    kind, attribute = raw.Type, raw.Attribute
    return EfiMemoryView(
        type=Hex(kind),
        type_name=MEMORY_TYPES[kind] if kind < len(MEMORY_TYPES) else "unknown",
        physical_start=Hex(raw.PhysicalStart),
        virtual_start=Hex(raw.VirtualStart),
        number_of_pages=Hex(raw.NumberOfPages),
        attribute=Hex(attribute),
        attribute_names=attribute_names(attribute),
    )


def system_table_view(memory: PhysicalMemory, address: int, *, width: int) -> SystemTableView:
    """Decode the system table at a physical address; `width` is that of its pointers, 4 or 8. Never raises."""
    try:
        raw = read(memory, address, SystemTable.sizeof(width), "the system table")
    except Unreadable as error:
        return SystemTableView(Hex(address), problem=str(error))
    table = SystemTable.parse(raw, width)
    problems: list[str] = []
    if table.Signature != SYSTEM_TABLE_SIGNATURE:
        problems.append("the signature is not IBI SYST")
    return SystemTableView(
        Hex(address),
        signature=raw[:8].decode("ascii", "backslashreplace"),
        revision=Hex(table.Revision),
        vendor=_vendor(memory, table.FirmwareVendor, problems),
        firmware_revision=Hex(table.FirmwareRevision),
        runtime_services=Hex(table.RuntimeServices),
        boot_services=Hex(table.BootServices),
        configuration_tables=_tables(memory, table, problems, width=width),
        problem="; ".join(problems),
    )


def _vendor(memory: PhysicalMemory, address: int, problems: list[str]) -> str:
    """A NUL-terminated UCS-2 string."""
    text = bytearray()
    try:
        while len(text) < 2 * MAX_VENDOR:
            unit = read(memory, address + len(text), 2, "the vendor's name")
            if unit == b"\0\0":
                return text.decode("utf-16-le", "backslashreplace")
            text += unit
    except Unreadable as error:
        problems.append(str(error))
        return ""
    problems.append(f"the vendor's name does not end within {MAX_VENDOR} characters")
    return text.decode("utf-16-le", "backslashreplace")


def _tables(
    memory: PhysicalMemory, table: SystemTable, problems: list[str], *, width: int
) -> tuple[ConfigurationTableView, ...]:
    count = table.NumberOfTableEntries
    if count > MAX_TABLES:
        problems.append(f"only the first {MAX_TABLES} of {count} configuration tables are shown")
        count = MAX_TABLES
    if not count:
        return ()
    try:
        raw = read(memory, table.ConfigurationTable, count * ConfigurationTable.sizeof(width), "the configuration tables")
    except Unreadable as error:
        problems.append(str(error))
        return ()
    entries = ConfigurationTable.rows(raw, width=width)
    return tuple(_table(guid_text(entry.VendorGuid), entry.VendorTable) for entry in entries)


def _table(guid: str, address: int) -> ConfigurationTableView:
    return ConfigurationTableView(guid, NAMES.get(guid, ""), Hex(address))
