"""SMBIOS structures, byte for byte: DMTF DSP0134 version 3.0.0 (section numbers stand at each structure).

Only the formatted areas are here; the strings that follow each, and the double NUL behind them, are section 6.1.3.
"""

from __future__ import annotations

from efishim.wire.layout import Bytes, Layout, u8, u16, u32, u64

ANCHOR3 = b"_SM3_"


class EntryPoint3(Layout):
    """The 64-bit entry point (5.2.2)."""

    SIZE = 24

    anchor = Bytes(0, 5)
    checksum = u8(5)
    length = u8(6)
    major_version = u8(7)
    minor_version = u8(8)
    docrev = u8(9)
    revision = u8(10)
    table_maximum_size = u32(12)
    table_address = u64(16)


ANCHOR2, INTERMEDIATE = b"_SM_", b"_DMI_"


class EntryPoint2(Layout):
    """The 32-bit entry point (5.2.1). `checksum` covers everything, `intermediate_checksum` what begins with `intermediate`."""

    SIZE = 31

    anchor = Bytes(0, 4)
    checksum = u8(4)
    length = u8(5)
    major_version = u8(6)
    minor_version = u8(7)
    maximum_structure_size = u16(8)
    revision = u8(10)
    intermediate = Bytes(16, 5)
    intermediate_checksum = u8(21)
    table_length = u16(22)
    table_address = u32(24)
    structures = u16(28)
    bcd_revision = u8(30)


class StructureHeader(Layout):
    """What every structure begins with (6.1.2)."""

    SIZE = 4

    type = u8(0)
    length = u8(1)
    handle = u16(2)


class BiosInformation(StructureHeader):
    """Type 0 (7.1)."""

    SIZE = 24

    vendor = u8(4)
    version = u8(5)
    starting_segment = u16(6)
    release_date = u8(8)
    rom_size = u8(9)
    characteristics = u64(10)
    characteristics_extension = u16(18)
    major_release = u8(20)
    minor_release = u8(21)
    ec_major_release = u8(22)
    ec_minor_release = u8(23)


class SystemInformation(StructureHeader):
    """Type 1 (7.2)."""

    SIZE = 27

    manufacturer = u8(4)
    product_name = u8(5)
    version = u8(6)
    serial_number = u8(7)
    uuid = Bytes(8, 16)
    wake_up_type = u8(24)
    sku_number = u8(25)
    family = u8(26)


class Enclosure(StructureHeader):
    """Type 3 (7.4), without contained elements."""

    SIZE = 22

    manufacturer = u8(4)
    chassis_type = u8(5)
    version = u8(6)
    serial_number = u8(7)
    asset_tag = u8(8)
    boot_up_state = u8(9)
    power_supply_state = u8(10)
    thermal_state = u8(11)
    security_status = u8(12)
    oem_defined = u32(13)
    height = u8(17)
    power_cords = u8(18)
    contained_elements = u8(19)
    contained_element_length = u8(20)
    sku_number = u8(21)


class Processor(StructureHeader):
    """Type 4 (7.5)."""

    SIZE = 48

    socket = u8(4)
    processor_type = u8(5)
    family = u8(6)
    manufacturer = u8(7)
    processor_id = u64(8)
    version = u8(16)
    voltage = u8(17)
    external_clock = u16(18)
    max_speed = u16(20)
    current_speed = u16(22)
    status = u8(24)
    upgrade = u8(25)
    l1_cache = u16(26)
    l2_cache = u16(28)
    l3_cache = u16(30)
    serial_number = u8(32)
    asset_tag = u8(33)
    part_number = u8(34)
    core_count = u8(35)
    core_enabled = u8(36)
    thread_count = u8(37)
    characteristics = u16(38)
    family2 = u16(40)
    core_count2 = u16(42)
    core_enabled2 = u16(44)
    thread_count2 = u16(46)


class MemoryArray(StructureHeader):
    """Type 16 (7.17)."""

    SIZE = 23

    location = u8(4)
    use = u8(5)
    error_correction = u8(6)
    maximum_capacity = u32(7)
    error_information = u16(11)
    devices = u16(13)
    extended_maximum_capacity = u64(15)


class MemoryDevice(StructureHeader):
    """Type 17 (7.18)."""

    SIZE = 40

    array = u16(4)
    error_information = u16(6)
    total_width = u16(8)
    data_width = u16(10)
    size = u16(12)
    form_factor = u8(14)
    device_set = u8(15)
    device_locator = u8(16)
    bank_locator = u8(17)
    memory_type = u8(18)
    type_detail = u16(19)
    speed = u16(21)
    manufacturer = u8(23)
    serial_number = u8(24)
    asset_tag = u8(25)
    part_number = u8(26)
    attributes = u8(27)
    extended_size = u32(28)
    configured_speed = u16(32)
    minimum_voltage = u16(34)
    maximum_voltage = u16(36)
    configured_voltage = u16(38)


class MappedAddress(StructureHeader):
    """Type 19 (7.20). Addresses in KiB, the end inclusive; the extended ones in bytes."""

    SIZE = 31

    starting_address = u32(4)
    ending_address = u32(8)
    array = u16(12)
    partition_width = u8(14)
    extended_starting_address = u64(15)
    extended_ending_address = u64(23)


class BootInformation(StructureHeader):
    """Type 32 (7.33) with the one-byte form of the status."""

    SIZE = 11

    reserved = Bytes(4, 6)
    status = u8(10)
