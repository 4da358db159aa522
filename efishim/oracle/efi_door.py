"""The EFI entry: found without knowing the firmware, by what UEFI has for debuggers.

Somewhere on a 4 MiB boundary lies an EFI_SYSTEM_TABLE_POINTER (UEFI 2.10, 18.4.2). It leads to the system table, whose
StartImage is watched, and to EFI_DEBUG_IMAGE_INFO_TABLE (18.4.3), which lists the loaded image of each handle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from efishim.errors import RouteError
from efishim.image.opened import Image
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.oracle.session import Session
from efishim.wire.guids import guid_text
from efishim.wire.uefi import (
    BOOT_SERVICES_SIGNATURE,
    BOOT_SERVICES_TABLE,
    LOADED_IMAGE_PROTOCOL,
    SYSTEM_TABLE,
    SYSTEM_TABLE_SIGNATURE,
    Shape,
)

POINTER_STEP = 4 << 20
SYSTEM_TABLE_POINTER = Shape("EFI_SYSTEM_TABLE_POINTER", "Signature:u64 EfiSystemTableBase:u64 Crc32:u32")
DEBUG_IMAGE_INFO_TABLE = "49152e77-1ada-4764-b7a2-7afefed95e8b"
DEBUG_IMAGE_INFO_TABLE_HEADER = Shape(
    "EFI_DEBUG_IMAGE_INFO_TABLE_HEADER", "UpdateStatus:u32 TableSize:u32 EfiDebugImageInfoTable:ptr"
)
DEBUG_IMAGE_INFO_NORMAL = Shape(
    "EFI_DEBUG_IMAGE_INFO_NORMAL", "ImageInfoType:u32 LoadedImageProtocolInstance:ptr ImageHandle:ptr"
)
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
        for at in range(first, region.end - SYSTEM_TABLE_POINTER.size(), POINTER_STEP):
            pointer = SYSTEM_TABLE_POINTER.unpack(memory.read(at, SYSTEM_TABLE_POINTER.size()))
            if pointer["Signature"] != SYSTEM_TABLE_SIGNATURE:
                continue
            table = _shape(memory, SYSTEM_TABLE, pointer["EfiSystemTableBase"])
            if table.get("Signature") == SYSTEM_TABLE_SIGNATURE and boot_services(memory, table):
                return pointer["EfiSystemTableBase"]
    return None


def boot_services(memory: PhysicalMemory, system_table: dict[str, int]) -> dict[str, int]:
    """The boot services table by field, empty when it is not there yet."""
    table = _shape(memory, BOOT_SERVICES_TABLE, system_table["BootServices"])
    return table if table.get("Signature") == BOOT_SERVICES_SIGNATURE and table["StartImage"] else {}


def loaded_image(memory: PhysicalMemory, system_table: int, handle: int) -> LoadedImage | None:
    """The image of a handle by the table for debuggers."""
    table = _shape(memory, SYSTEM_TABLE, system_table)
    try:
        for index in range(min(table.get("NumberOfTableEntries", 0), MAX_TABLES)):
            entry = memory.read(table["ConfigurationTable"] + index * 24, 24)
            if guid_text(entry[:16]) == DEBUG_IMAGE_INFO_TABLE:
                return _in_table(memory, int.from_bytes(entry[16:], "little"), handle)
    except BusError:
        return None
    return None


def _in_table(memory: PhysicalMemory, address: int, handle: int) -> LoadedImage | None:
    header = _shape(memory, DEBUG_IMAGE_INFO_TABLE_HEADER, address)
    for index in range(min(header.get("TableSize", 0), MAX_IMAGES)):
        entry = memory.u64(header["EfiDebugImageInfoTable"] + index * 8)
        info = _shape(memory, DEBUG_IMAGE_INFO_NORMAL, entry) if entry else {}
        if info.get("ImageHandle") != handle:
            continue
        image = _shape(memory, LOADED_IMAGE_PROTOCOL, info["LoadedImageProtocolInstance"])
        if image:
            return LoadedImage(handle, image["ImageBase"], image["ImageSize"])
    return None


def _shape(memory: PhysicalMemory, shape: Shape, address: int) -> dict[str, int]:
    """A structure by field, empty where there is no memory."""
    try:
        return shape.unpack(memory.read(address, shape.size()))
    except BusError:
        return {}


class EfiDoor:
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
            table = boot_services(memory, _shape(memory, SYSTEM_TABLE, address))
            session.on(table["StartImage"], starting)

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
