"""SMBIOS structures that describe the emulated machine.

Source: DMTF DSP0134 3.0.0, and 2.8 for the 32-bit entry point. The required structures of its annex A that make sense
here: BIOS, system, enclosure, processor, memory array, device and mapped address, system boot, end of table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from efishim.wire import smbios as wire

T = TypeVar("T", bound=wire.StructureHeader)

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UNKNOWN, OTHER = 2, 1
NO_HANDLE, NO_ERROR_HANDLE = 0xFFFF, 0xFFFE
SYSTEM_UUID = bytes.fromhex("6566697368696d40804000000000000e")
"""The same for every run (6.2.1 of RFC 9562 would want a random one; a random one would make runs differ)."""
RELEASE_DATE = "04/07/2016"
"""The week of the thread. Linux takes a machine with a date before 2001, or none, for one whose ACPI is suspect."""


@dataclass(frozen=True)
class Maker:
    """Who made the firmware and the machine, as the structures say it."""

    firmware: str = "efishim"
    firmware_date: str = RELEASE_DATE
    machine: str = "efishim"


EFISHIM = Maker()


@dataclass(frozen=True)
class SmbiosConfig:
    """What the structures tell. RAM in bytes below and above 4 GiB, frequency in MHz."""

    low_ram: int
    high_ram: int
    cpu_mhz: int
    cpu_brand: str
    cpu_signature: int
    """EAX of CPUID leaf 1, and EDX in the upper half."""
    product: str
    firmware_version: str
    uefi: bool = True
    machine_version: str = ""
    """That of the firmware when empty."""
    maker: Maker = EFISHIM


class _Table:
    """Collects structures, numbers their strings and hands out handles."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._handles = 0

    def add(self, number: int, structure: T, *strings: str) -> int:
        handle = self._handles
        self._handles += 1
        structure.type = number
        structure.length = structure.SIZE
        structure.handle = handle
        self.data += structure.build()
        self.data += b"".join(text.encode("ascii", "replace") + b"\0" for text in strings) or b"\0"
        self.data += b"\0"
        return handle


def _bios(config: SmbiosConfig) -> wire.BiosInformation:
    bios = wire.BiosInformation()
    bios.vendor, bios.version, bios.release_date = 1, 2, 3
    bios.characteristics = 1 << 3  # "BIOS characteristics are not supported": none to tell
    bios.characteristics_extension = (1 << 3 if config.uefi else 0) << 8 | 1 << 12  # UEFI, a virtual machine
    bios.major_release = bios.minor_release = bios.ec_major_release = bios.ec_minor_release = 0xFF
    return bios


def _processor(config: SmbiosConfig) -> wire.Processor:
    cpu = wire.Processor()
    cpu.socket, cpu.manufacturer, cpu.version = 1, 2, 3
    cpu.processor_type = 3  # central processor
    cpu.family = UNKNOWN
    cpu.processor_id = config.cpu_signature
    cpu.max_speed = cpu.current_speed = config.cpu_mhz
    cpu.status = 0x41  # populated, enabled
    cpu.upgrade = OTHER
    cpu.l1_cache = cpu.l2_cache = cpu.l3_cache = NO_HANDLE
    cpu.core_count = cpu.core_enabled = cpu.thread_count = 1
    cpu.core_count2 = cpu.core_enabled2 = cpu.thread_count2 = 1
    cpu.characteristics = 1 << 2 | 1 << 5  # 64-bit, execute protection
    cpu.family2 = UNKNOWN
    return cpu


def _memory_device(array: int, size: int) -> wire.MemoryDevice:
    device = wire.MemoryDevice()
    device.array = array
    device.error_information = NO_ERROR_HANDLE
    device.total_width = device.data_width = 0xFFFF
    if size < 0x7FFF * MIB:
        device.size = size // MIB
    else:
        device.size = 0x7FFF
        device.extended_size = size // MIB
    device.form_factor = 9  # DIMM
    device.device_locator, device.manufacturer = 1, 2
    device.memory_type = 7  # RAM
    device.type_detail = 1 << 1  # other
    return device


def _mapped(array: int, start: int, size: int) -> wire.MappedAddress:
    mapped = wire.MappedAddress()
    last = start + size - 1
    if last // KIB < 0xFFFF_FFFF:
        mapped.starting_address, mapped.ending_address = start // KIB, last // KIB
    else:
        mapped.starting_address = mapped.ending_address = 0xFFFF_FFFF
        mapped.extended_starting_address, mapped.extended_ending_address = start, last
    mapped.array = array
    mapped.partition_width = 1
    return mapped


def build_structures(config: SmbiosConfig) -> bytes:
    """The structure table."""
    table = _Table()
    maker = config.maker
    table.add(0, _bios(config), maker.firmware, config.firmware_version, maker.firmware_date)
    system = wire.SystemInformation()
    system.manufacturer, system.product_name, system.version = 1, 2, 3
    system.uuid = SYSTEM_UUID
    system.wake_up_type = 6  # power switch
    table.add(1, system, maker.machine, config.product, config.machine_version or config.firmware_version)
    enclosure = wire.Enclosure()
    enclosure.manufacturer = 1
    enclosure.chassis_type = OTHER
    enclosure.boot_up_state = enclosure.power_supply_state = enclosure.thermal_state = 3  # safe
    enclosure.security_status = UNKNOWN
    if config.machine_version:
        enclosure.version = 2
    table.add(3, enclosure, *filter(None, (maker.machine, config.machine_version)))
    table.add(4, _processor(config), "CPU 0", maker.machine, config.cpu_brand)
    total = config.low_ram + config.high_ram
    array = wire.MemoryArray()
    array.location, array.use, array.error_correction = 3, 3, 3  # system board, system memory, none
    array.error_information = NO_ERROR_HANDLE
    array.devices = 1
    if total < 2048 * GIB:
        array.maximum_capacity = total // KIB
    else:
        array.maximum_capacity = 0x8000_0000
        array.extended_maximum_capacity = total
    handle = table.add(16, array)
    table.add(17, _memory_device(handle, total), "DIMM 0", maker.machine)
    table.add(19, _mapped(handle, 0, config.low_ram))
    if config.high_ram:
        table.add(19, _mapped(handle, 4 * GIB, config.high_ram))
    table.add(32, wire.BootInformation())  # no errors detected
    table.add(127, _end())
    return bytes(table.data)


def _end() -> wire.StructureHeader:
    return wire.StructureHeader()


def build_entry_point(table: int, size: int) -> bytes:
    """The 64-bit entry point for a structure table of `size` bytes at address `table`."""
    entry = wire.EntryPoint3()
    entry.anchor = wire.ANCHOR3
    entry.length = entry.SIZE
    entry.major_version, entry.minor_version = 3, 0
    entry.revision = 1
    entry.table_maximum_size = size
    entry.table_address = table
    entry.checksum = -sum(entry.build()) & 0xFF
    return entry.build()


def build_entry_point_2(table: int, structures: bytes) -> bytes:
    """The 32-bit entry point of SMBIOS 2.8 (5.2.1) for structures that lie at address `table`, below 4 GiB."""
    sizes = _sizes(structures)
    entry = wire.EntryPoint2()
    entry.anchor, entry.intermediate = wire.ANCHOR2, wire.INTERMEDIATE
    entry.length = entry.SIZE
    entry.major_version, entry.minor_version = 2, 8
    entry.bcd_revision = 0x28
    entry.maximum_structure_size = max(sizes, default=0)
    entry.table_length = len(structures)
    entry.table_address = table
    entry.structures = len(sizes)
    entry.intermediate_checksum = -sum(entry.build()[0x10:]) & 0xFF
    entry.checksum = -sum(entry.build()) & 0xFF
    return entry.build()


def _sizes(structures: bytes) -> list[int]:
    """Bytes of each structure with its strings, which two zeroes end (6.1.3)."""
    sizes: list[int] = []
    at = 0
    while at < len(structures):
        end = structures.index(b"\0\0", at + structures[at + 1]) + 2
        sizes.append(end - at)
        at = end
    return sizes
