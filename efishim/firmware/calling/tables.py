"""The system table and what hangs on it (UEFI 2.10, chapter 4): built once, kept true to its CRCs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import Status, demand
from efishim.machine.memory import PhysicalMemory
from efishim.wire.guids import guid_bytes
from efishim.wire.uefi import (
    BOOT_SERVICES_SIGNATURE,
    BOOT_SERVICES_TABLE,
    CONFIGURATION_TABLE,
    REVISION_2_10,
    RUNTIME_SERVICES_SIGNATURE,
    RUNTIME_SERVICES_TABLE,
    SYSTEM_TABLE,
    SYSTEM_TABLE_SIGNATURE,
    TABLE_HEADER,
    Shape,
)

CONFIGURATION_LIMIT = 300
"""Most configuration tables; one more is EFI_OUT_OF_RESOURCES."""

FIRMWARE_REVISION = 1 << 16
CRC_OFFSET = TABLE_HEADER.offset("CRC32")
_TABLES = {
    SYSTEM_TABLE.name: "SystemTable",
    BOOT_SERVICES_TABLE.name: "BootServices",
    RUNTIME_SERVICES_TABLE.name: "RuntimeServices",
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
        self._system: dict[str, int | bytes] = {
            "FirmwareVendor": self.vendor,
            "FirmwareRevision": FIRMWARE_REVISION,
            "RuntimeServices": self.runtime,
            "BootServices": self.boot,
            "ConfigurationTable": self.configuration,
        }
        self._runtime: dict[str, int | bytes] = {}
        self.has_field: Callable[[str], bool] = lambda name: True
        """Fields (`SystemTable.ConOut`) for which this is false are zero. Services are not asked for."""

    def fill(self, boot: Mapping[str, int], runtime: Mapping[str, int]) -> None:
        """Service addresses by name, NULL for those that are missing."""
        self._write(self.boot, BOOT_SERVICES_TABLE, BOOT_SERVICES_SIGNATURE, dict(boot))
        self._runtime = dict(runtime)
        self._write(self.runtime, RUNTIME_SERVICES_TABLE, RUNTIME_SERVICES_SIGNATURE, self._runtime)
        self.update()

    def update(self, **fields: int) -> None:
        """Change fields of the system table, and its CRC."""
        self._system.update(fields)
        self._system["NumberOfTableEntries"] = len(self._entries)
        self._write(self.system, SYSTEM_TABLE, SYSTEM_TABLE_SIGNATURE, self._system)

    def _write(self, address: int, shape: Shape, signature: int, fields: dict[str, int | bytes]) -> None:
        size = shape.size(self._width)
        header = {"Signature": signature, "Revision": REVISION_2_10, "HeaderSize": size}
        table = _TABLES[shape.name]
        kept = header if shape is not SYSTEM_TABLE else {**fields, **header}
        zeroed = {name: 0 for name in kept if not self.has_field(f"{table}.{name}")}
        data = bytearray(shape.pack({**fields, **header, **zeroed}, self._width))
        if self.has_field(f"{table}.CRC32"):
            data[CRC_OFFSET : CRC_OFFSET + 4] = zlib.crc32(data).to_bytes(4, "little")
        self._memory.write(address, bytes(data))

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
            CONFIGURATION_TABLE.pack({"VendorGuid": guid_bytes(known), "VendorTable": at}, self._width)
            for known, at in self._entries
        )
        self._memory.write(self.configuration, data + bytes(CONFIGURATION_TABLE.size(self._width)))
        self.update()

    @property
    def entries(self) -> tuple[tuple[str, int], ...]:
        """(GUID, address) of the configuration tables."""
        return tuple(self._entries)

    # -- the end of boot services, and virtual mode -------------------------------------------------------------

    def leave_boot_services(self) -> None:
        """ExitBootServices (7.4.6): what only boot services have is NULL from now on."""
        self.update(**dict.fromkeys(_ONLY_BOOT, 0))
        self._memory.fill(self.boot, BOOT_SERVICES_TABLE.size(self._width))

    def relocate(self, virtual: Mapping[int, int]) -> None:
        """SetVirtualAddressMap (8.4.1): `virtual` gives the new value for each pointer that runtime code uses."""
        moved: dict[str, int | bytes] = {
            name: virtual.get(value, value) if isinstance(value, int) and name not in _STAY else value
            for name, value in self._runtime.items()
        }
        self._write(self.runtime, RUNTIME_SERVICES_TABLE, RUNTIME_SERVICES_SIGNATURE, moved)
        for name in _MOVED:
            value = self._system[name]
            assert isinstance(value, int)
            self._system[name] = virtual.get(value, value)
        self.update()

    def pointers(self) -> list[int]:
        """Every pointer that `relocate` converts."""
        values = [self._system[name] for name in _MOVED] + list(self._runtime.values())
        return [value for value in values if isinstance(value, int) and value]


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
