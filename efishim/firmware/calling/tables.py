"""The system table and the tables that it points to (UEFI 2.10, chapter 4): built once, with up-to-date CRCs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import Status, demand
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.guids import guid_bytes
from efishim.wire.uefi import (
    BOOT_SERVICES_SIGNATURE,
    REVISION_2_10,
    RUNTIME_SERVICES_SIGNATURE,
    SYSTEM_TABLE_SIGNATURE,
    BootServicesTable,
    ConfigurationTable,
    RuntimeServicesTable,
    SystemTable,
    TableHeader,
)

CONFIGURATION_LIMIT = 300
"""Most configuration tables; one more is EFI_OUT_OF_RESOURCES."""

FIRMWARE_REVISION = 1 << 16
_TABLES: dict[type[TableHeader], str] = {
    SystemTable: "SystemTable",
    BootServicesTable: "BootServices",
    RuntimeServicesTable: "RuntimeServices",
}
_ONLY_BOOT = ("ConsoleInHandle", "ConIn", "ConsoleOutHandle", "ConOut", "StandardErrorHandle", "StdErr", "BootServices")


class Tables:
    """System, runtime services and configuration tables in EfiRuntimeServicesData, boot services table in
    EfiBootServicesData. Written by physical address: it does not matter whose page tables are in use.
    """

    def __init__(self, memory: PhysicalMemory, runtime_data: int, boot_data: int, vendor: str, width: int = 8) -> None:
        """`runtime_data` has room for three pages, `boot_data` for one."""
        self._memory = memory
        self._width = width
        self.system = runtime_data + 0x18
        self.runtime = self.system + 0x100
        self.vendor = self.runtime + 0x100
        self.configuration = runtime_data + 0x1000
        self.boot = boot_data + 0x18
        self._entries: list[tuple[str, int]] = []
        self._virtual: dict[str, int] = {}
        memory.write(self.vendor, vendor.encode("utf-16-le")[:0x400] + b"\0\0")
        self._system: dict[str, int] = {
            "FirmwareVendor": self.vendor,
            "FirmwareRevision": FIRMWARE_REVISION,
            "RuntimeServices": self.runtime,
            "BootServices": self.boot,
            "ConfigurationTable": self.configuration,
        }
        self._runtime: dict[str, int] = {}
        self.has_field: Callable[[str], bool] = lambda name: True
        """Fields (`SystemTable.ConOut`) for which this is false are zero. Services are not asked for."""

    def fill(self, boot: Mapping[str, int], runtime: Mapping[str, int]) -> None:
        """Service addresses by name, NULL for those that are missing."""
        self._write(self.boot, BootServicesTable, BOOT_SERVICES_SIGNATURE, boot)
        self._runtime = dict(runtime)
        self._write(self.runtime, RuntimeServicesTable, RUNTIME_SERVICES_SIGNATURE, self._runtime)
        self.update()

    def update(self, **fields: int) -> None:
        """Change fields of the system table, and its CRC."""
        self._system.update(fields)
        self._system["NumberOfTableEntries"] = len(self._entries)
        self._write(self.system, SystemTable, SYSTEM_TABLE_SIGNATURE, self._system)

    def _write(self, address: int, layout: type[TableHeader], signature: int, fields: Mapping[str, int]) -> None:
        size = layout.sizeof(self._width)
        header = {"Signature": signature, "Revision": REVISION_2_10, "HeaderSize": size}
        name = _TABLES[layout]
        kept = header if layout is not SystemTable else {**fields, **header}
        zeroed = {field: 0 for field in kept if not self.has_field(f"{name}.{field}")}
        table = layout(**{**fields, **header, **zeroed})
        if self.has_field(f"{name}.CRC32"):
            table.CRC32 = zlib.crc32(table.build(self._width))
        self._memory.write(address, table.build(self._width))

    # -- configuration tables (4.6, 7.5.8) ----------------------------------------------------------------------

    def install(self, guid: str, address: int) -> None:
        """Add, replace, or with address 0 remove. Raises EfiError: NOT_FOUND, OUT_OF_RESOURCES."""
        index = next((i for i, (known, _) in enumerate(self._entries) if known == guid), None)
        if address == 0:
            demand(index is not None, Status.NOT_FOUND)
            assert index is not None
            del self._entries[index]
        elif index is not None:
            self._entries[index] = (guid, address)
        else:
            demand(len(self._entries) < CONFIGURATION_LIMIT, Status.OUT_OF_RESOURCES)
            self._entries.append((guid, address))
        data = b"".join(
            ConfigurationTable(VendorGuid=guid_bytes(known), VendorTable=at).build(self._width) for known, at in self._entries
        )
        self._memory.write(self.configuration, data + bytes(ConfigurationTable.sizeof(self._width)))
        self.update()

    @property
    def entries(self) -> tuple[tuple[str, int], ...]:
        """(GUID, address) of the configuration tables."""
        return tuple(self._entries)

    # -- the end of boot services, and virtual mode -------------------------------------------------------------

    def leave_boot_services(self) -> None:
        """ExitBootServices (7.4.6): what only boot services have is NULL from now on."""
        self.update(**dict.fromkeys(_ONLY_BOOT, 0))
        self._memory.fill(self.boot, BootServicesTable.sizeof(self._width))

    def relocate(self, virtual: Mapping[int, int]) -> None:
        """SetVirtualAddressMap (8.4.1): `virtual` gives the new value for each pointer that runtime code uses."""
        moved = {name: value if name in _STAY else virtual.get(value, value) for name, value in self._runtime.items()}
        self._write(self.runtime, RuntimeServicesTable, RUNTIME_SERVICES_SIGNATURE, moved)
        for name in _MOVED:
            self._system[name] = virtual.get(self._system[name], self._system[name])
        self.update()

    def pointers(self) -> list[int]:
        """Every pointer that `relocate` converts."""
        values = [self._system[name] for name in _MOVED] + list(self._runtime.values())
        return [value for value in values if value]


_MOVED = ("FirmwareVendor", "RuntimeServices", "ConfigurationTable")
_STAY = frozenset({"SetVirtualAddressMap", "ConvertPointer"})
"""Useless in virtual mode; EDK II leaves them physical, and so Linux has seen them."""


def crc32(guest: Guest, address: int, size: int) -> int:
    """The CRC of 7.5.6 over guest memory, in pieces."""
    crc, done = 0, 0
    while done < size:
        step = min(1 << 20, size - done)
        crc = zlib.crc32(guest.read(address + done, step), crc)
        done += step
    return crc


def acpi_revision(memory: PhysicalMemory, rsdp: int) -> int:
    """The RSDP's revision (ACPI 6.5, 5.2.5.3): below 2 there is no XSDT, and it is no ACPI 2.0 table."""
    try:
        return memory.u8(rsdp + 15)
    except BusError:
        return 0
