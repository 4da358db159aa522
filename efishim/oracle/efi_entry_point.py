"""Finds the EFI entry point on any firmware, through UEFI's debug support.

An EFI_SYSTEM_TABLE_POINTER lies on a 4 MiB boundary (UEFI 2.10, 18.4.2). It points to the system table, whose StartImage
gets a breakpoint, and to EFI_DEBUG_IMAGE_INFO_TABLE (18.4.3), which lists the loaded image of each handle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from efishim.errors import RouteError
from efishim.image.opened import Image
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.oracle.session import Session
from efishim.wire.guids import guid_text
from efishim.wire.layout import Layout
from efishim.wire.uefi import (
    BOOT_SERVICES_SIGNATURE,
    SYSTEM_TABLE_SIGNATURE,
    BootServicesTable,
    ConfigurationTable,
    SystemTable,
)
from efishim.wire.uefi_protocols import (
    DebugImageInfoNormal,
    DebugImageInfoTableHeader,
    LoadedImageProtocol,
    SystemTablePointer,
)

L = TypeVar("L", bound=Layout)
POINTER_STEP = 4 << 20
DEBUG_IMAGE_INFO_TABLE = "49152e77-1ada-4764-b7a2-7afefed95e8b"
MAX_IMAGES = 4096
MAX_TABLES = 256
HEAD = 0x200
"""Bytes of the image's headers that are compared."""


@dataclass(frozen=True)
class LoadedImage:
    """An image as firmware loaded it."""

    handle: int
    base: int
    size: int


def find_system_table(memory: PhysicalMemory) -> int | None:
    """Address of the system table once the firmware has its boot services, else None."""
    for region in memory:
        first = -(-region.start // POINTER_STEP) * POINTER_STEP
        for at in range(first, region.end - SystemTablePointer.sizeof(), POINTER_STEP):
            pointer = _structure(memory, SystemTablePointer, at)
            if pointer is None or pointer.Signature != SYSTEM_TABLE_SIGNATURE:
                continue
            table = _structure(memory, SystemTable, pointer.EfiSystemTableBase)
            if table is not None and table.Signature == SYSTEM_TABLE_SIGNATURE and boot_services(memory, table):
                return pointer.EfiSystemTableBase
    return None


def boot_services(memory: PhysicalMemory, system_table: SystemTable) -> BootServicesTable | None:
    """The boot services table, None when it is not there yet."""
    table = _structure(memory, BootServicesTable, system_table.BootServices)
    there = table is not None and table.Signature == BOOT_SERVICES_SIGNATURE and table.StartImage
    return table if there else None


def loaded_image(memory: PhysicalMemory, system_table: int, handle: int) -> LoadedImage | None:
    """The image of a handle by the table for debuggers."""
    table = _structure(memory, SystemTable, system_table)
    if table is None:
        return None
    for index in range(min(table.NumberOfTableEntries, MAX_TABLES)):
        entry = _structure(memory, ConfigurationTable, table.ConfigurationTable + index * ConfigurationTable.sizeof())
        if entry is None:
            return None
        if guid_text(entry.VendorGuid) == DEBUG_IMAGE_INFO_TABLE:
            return _in_table(memory, entry.VendorTable, handle)
    return None


def _in_table(memory: PhysicalMemory, address: int, handle: int) -> LoadedImage | None:
    header = _structure(memory, DebugImageInfoTableHeader, address)
    if header is None:
        return None
    for index in range(min(header.TableSize, MAX_IMAGES)):
        try:
            entry = memory.u64(header.EfiDebugImageInfoTable + index * 8)
        except BusError:
            return None
        info = _structure(memory, DebugImageInfoNormal, entry) if entry else None
        if info is None or info.ImageHandle != handle:
            continue
        image = _structure(memory, LoadedImageProtocol, info.LoadedImageProtocolInstance)
        if image is not None:
            return LoadedImage(handle, image.ImageBase, image.ImageSize)
    return None


def _structure(memory: PhysicalMemory, layout: type[L], address: int) -> L | None:
    """A structure of 64-bit firmware, None where there is no memory."""
    try:
        return layout.parse(memory.read(address, layout.sizeof()))
    except BusError:
        return None


class EfiEntryPoint:
    """Waits until firmware or a loader starts the image. `loaded`, `system_table` and `back`, where StartImage returns to, are
    known from then on.
    """

    def __init__(self, image: Image) -> None:
        pe = image.parts.pe
        if pe is None:
            raise RouteError(f"{image.path} is not a PE file, so it has no EFI entry")
        self._entry = pe.entry_rva
        self._base_at = int.from_bytes(image.data[0x3C:0x40], "little") + 0x30
        self._head = self._without_base(image.data[: min(HEAD, pe.optional["SizeOfHeaders"])])
        self.loaded: LoadedImage | None = None
        self.system_table = 0
        self.back = 0

    def _without_base(self, head: bytes) -> bytes:
        """Loaders write where they put the image into its ImageBase field (PE32+: 0x30 behind the signature)."""
        return head[: self._base_at] + bytes(8) + head[self._base_at + 8 :]

    def arm(self, session: Session, entered: Callable[[], None]) -> None:
        """Watch for the system table first, then for StartImage, then for the entry point."""
        memory = session.qemu.ram

        def sight() -> bool:
            return find_system_table(memory) is not None

        def found() -> None:
            address = find_system_table(memory)
            if address is None:
                session.expect(sight, found)
                return
            self.system_table = address
            table = _structure(memory, SystemTable, address)
            services = boot_services(memory, table) if table is not None else None
            if services is None:
                session.expect(sight, found)
                return
            session.on(services.StartImage, starting)

        def starting() -> None:
            image = loaded_image(memory, self.system_table, session.registers["rcx"])
            if image is None or not self._is_it(memory, image):
                return
            self.loaded = image
            self.back = memory.u64(session.registers["rsp"])
            entry = image.base + self._entry

            def at_entry() -> None:
                session.off(entry)
                session.off(start_image)
                entered()

            start_image = session.place
            session.on(entry, at_entry)

        session.expect(sight, found)

    def _is_it(self, memory: PhysicalMemory, image: LoadedImage) -> bool:
        try:
            return self._without_base(memory.read(image.base, len(self._head))) == self._head
        except BusError:
            return False
