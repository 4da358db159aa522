"""SMBIOS structures: DMTF DSP0134 version 3.0.0 (each structure cites its section).

Only the formatted areas are here; the strings that follow each, and the double NUL behind them, are section 6.1.3.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, array, u8, u16, u32, u64

ANCHOR3 = b"_SM3_"


class EntryPoint3(Layout):
    """The 64-bit entry point (5.2.2)."""

    SIZE = 24

    anchor: bytes = array(0, 5)
    checksum: int = u8(5)
    length: int = u8(6)
    major_version: int = u8(7)
    minor_version: int = u8(8)
    docrev: int = u8(9)
    revision: int = u8(10)
    table_maximum_size: int = u32(12)
    table_address: int = u64(16)


ANCHOR2, INTERMEDIATE = b"_SM_", b"_DMI_"


class EntryPoint2(Layout):
    """The 32-bit entry point (5.2.1). `checksum` covers everything, `intermediate_checksum` what begins with `intermediate`."""

    SIZE = 31

    anchor: bytes = array(0, 4)
    checksum: int = u8(4)
    length: int = u8(5)
    major_version: int = u8(6)
    minor_version: int = u8(7)
    maximum_structure_size: int = u16(8)
    revision: int = u8(10)
    intermediate: bytes = array(16, 5)
    intermediate_checksum: int = u8(21)
    table_length: int = u16(22)
    table_address: int = u32(24)
    structures: int = u16(28)
    bcd_revision: int = u8(30)


class StructureHeader(Layout):
    """What every structure begins with (6.1.2)."""

    SIZE = 4

    type: int = u8(0)
    length: int = u8(1)
    handle: int = u16(2)


class BiosInformation(StructureHeader):
    """Type 0 (7.1)."""

    SIZE = 24

    vendor: int = u8(4)
    version: int = u8(5)
    starting_segment: int = u16(6)
    release_date: int = u8(8)
    rom_size: int = u8(9)
    characteristics: int = u64(10)
    characteristics_extension: int = u16(18)
    major_release: int = u8(20)
    minor_release: int = u8(21)
    ec_major_release: int = u8(22)
    ec_minor_release: int = u8(23)


class SystemInformation(StructureHeader):
    """Type 1 (7.2)."""

    SIZE = 27

    manufacturer: int = u8(4)
    product_name: int = u8(5)
    version: int = u8(6)
    serial_number: int = u8(7)
    uuid: bytes = array(8, 16)
    wake_up_type: int = u8(24)
    sku_number: int = u8(25)
    family: int = u8(26)


class Enclosure(StructureHeader):
    """Type 3 (7.4), without contained elements."""

    SIZE = 22

    manufacturer: int = u8(4)
    chassis_type: int = u8(5)
    version: int = u8(6)
    serial_number: int = u8(7)
    asset_tag: int = u8(8)
    boot_up_state: int = u8(9)
    power_supply_state: int = u8(10)
    thermal_state: int = u8(11)
    security_status: int = u8(12)
    oem_defined: int = u32(13)
    height: int = u8(17)
    power_cords: int = u8(18)
    contained_elements: int = u8(19)
    contained_element_length: int = u8(20)
    sku_number: int = u8(21)


class Processor(StructureHeader):
    """Type 4 (7.5)."""

    SIZE = 48

    socket: int = u8(4)
    processor_type: int = u8(5)
    family: int = u8(6)
    manufacturer: int = u8(7)
    processor_id: int = u64(8)
    version: int = u8(16)
    voltage: int = u8(17)
    external_clock: int = u16(18)
    max_speed: int = u16(20)
    current_speed: int = u16(22)
    status: int = u8(24)
    upgrade: int = u8(25)
    l1_cache: int = u16(26)
    l2_cache: int = u16(28)
    l3_cache: int = u16(30)
    serial_number: int = u8(32)
    asset_tag: int = u8(33)
    part_number: int = u8(34)
    core_count: int = u8(35)
    core_enabled: int = u8(36)
    thread_count: int = u8(37)
    characteristics: int = u16(38)
    family2: int = u16(40)
    core_count2: int = u16(42)
    core_enabled2: int = u16(44)
    thread_count2: int = u16(46)


class MemoryArray(StructureHeader):
    """Type 16 (7.17)."""

    SIZE = 23

    location: int = u8(4)
    use: int = u8(5)
    error_correction: int = u8(6)
    maximum_capacity: int = u32(7)
    error_information: int = u16(11)
    devices: int = u16(13)
    extended_maximum_capacity: int = u64(15)


class MemoryDevice(StructureHeader):
    """Type 17 (7.18)."""

    SIZE = 40

    array: int = u16(4)
    error_information: int = u16(6)
    total_width: int = u16(8)
    data_width: int = u16(10)
    size: int = u16(12)
    form_factor: int = u8(14)
    device_set: int = u8(15)
    device_locator: int = u8(16)
    bank_locator: int = u8(17)
    memory_type: int = u8(18)
    type_detail: int = u16(19)
    speed: int = u16(21)
    manufacturer: int = u8(23)
    serial_number: int = u8(24)
    asset_tag: int = u8(25)
    part_number: int = u8(26)
    attributes: int = u8(27)
    extended_size: int = u32(28)
    configured_speed: int = u16(32)
    minimum_voltage: int = u16(34)
    maximum_voltage: int = u16(36)
    configured_voltage: int = u16(38)


class MappedAddress(StructureHeader):
    """Type 19 (7.20). Addresses in KiB, the end inclusive; the extended ones in bytes."""

    SIZE = 31

    starting_address: int = u32(4)
    ending_address: int = u32(8)
    array: int = u16(12)
    partition_width: int = u8(14)
    extended_starting_address: int = u64(15)
    extended_ending_address: int = u64(23)


class BootInformation(StructureHeader):
    """Type 32 (7.33) with the one-byte form of the status."""

    SIZE = 11

    reserved: bytes = array(4, 6)
    status: int = u8(10)
