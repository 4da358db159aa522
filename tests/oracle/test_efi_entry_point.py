"""The EFI entry is found by what UEFI 2.10, section 18.4, leaves in memory for debuggers."""

from __future__ import annotations

import pytest

from efishim.machine.memory import PhysicalMemory
from efishim.oracle.efi_entry_point import (
    DEBUG_IMAGE_INFO_TABLE,
    LoadedImage,
    find_system_table,
    loaded_image,
)
from efishim.wire.guids import guid_bytes
from efishim.wire.uefi import BOOT_SERVICES_SIGNATURE, SYSTEM_TABLE_SIGNATURE, BootServicesTable, SystemTable
from efishim.wire.uefi_protocols import (
    DebugImageInfoNormal,
    DebugImageInfoTableHeader,
    LoadedImageProtocol,
    SystemTablePointer,
)

POINTER = 12 << 20
TABLE, SERVICES, CONFIGURATION, INFO, LIST, NORMAL, PROTOCOL = (0x10_0000 + 0x1000 * n for n in range(7))
HANDLE = 0xABCD00


@pytest.fixture
def memory() -> PhysicalMemory:
    """A firmware's memory with one loaded image."""
    ram = PhysicalMemory()
    ram.add(0, 0xA0000)
    ram.add(0x10_0000, 15 << 20)
    ram.write(POINTER, SystemTablePointer(Signature=SYSTEM_TABLE_SIGNATURE, EfiSystemTableBase=TABLE).build())
    table = SystemTable(
        Signature=SYSTEM_TABLE_SIGNATURE,
        BootServices=SERVICES,
        NumberOfTableEntries=2,
        ConfigurationTable=CONFIGURATION,
    )
    ram.write(TABLE, table.build())
    ram.write(SERVICES, BootServicesTable(Signature=BOOT_SERVICES_SIGNATURE, StartImage=0x7000).build())
    ram.write(CONFIGURATION, bytes(24) + guid_bytes(DEBUG_IMAGE_INFO_TABLE) + INFO.to_bytes(8, "little"))
    ram.write(INFO, DebugImageInfoTableHeader(TableSize=2, EfiDebugImageInfoTable=LIST).build())
    ram.write(LIST, bytes(8) + NORMAL.to_bytes(8, "little"))  # the first image was unloaded
    info = DebugImageInfoNormal(ImageInfoType=1, LoadedImageProtocolInstance=PROTOCOL, ImageHandle=HANDLE)
    ram.write(NORMAL, info.build())
    ram.write(PROTOCOL, LoadedImageProtocol(ImageBase=0x80_0000, ImageSize=0x1000).build())
    return ram


def test_the_system_table_is_found(memory: PhysicalMemory) -> None:
    assert find_system_table(memory) == TABLE


@pytest.mark.parametrize("missing", [POINTER, TABLE, SERVICES])
def test_it_is_not_found_before_everything_is_there(memory: PhysicalMemory, missing: int) -> None:
    memory.fill(missing, 16)
    assert find_system_table(memory) is None


def test_boot_services_without_functions_are_not_there_yet(memory: PhysicalMemory) -> None:
    memory.fill(SERVICES + 24, BootServicesTable.sizeof() - 24)
    assert find_system_table(memory) is None


def test_a_pointer_into_nothing_is_passed_over(memory: PhysicalMemory) -> None:
    memory.put_u64(POINTER + 8, 1 << 40)
    assert find_system_table(memory) is None


def test_an_image_is_found_by_its_handle(memory: PhysicalMemory) -> None:
    assert loaded_image(memory, TABLE, HANDLE) == LoadedImage(HANDLE, 0x80_0000, 0x1000)
    assert loaded_image(memory, TABLE, HANDLE + 1) is None


@pytest.mark.parametrize("wild", [CONFIGURATION + 24 + 16, INFO + 8, LIST + 8, NORMAL + 8])
def test_wild_pointers_find_nothing(memory: PhysicalMemory, wild: int) -> None:
    memory.put_u64(wild, 1 << 51)
    assert loaded_image(memory, TABLE, HANDLE) is None


def test_absurd_counts_end(memory: PhysicalMemory) -> None:
    memory.put_u32(INFO + 4, 0xFFFFFFFF)
    assert loaded_image(memory, TABLE, HANDLE + 1) is None
