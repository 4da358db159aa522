"""PCI configuration space: PCI Local Bus Specification 3.0, chapter 6."""

from __future__ import annotations

from efishim.wire.layout import Layout, array, numbers, u8, u16, u32


class ConfigurationHeader(Layout):
    """The header of type 0 (6.1)."""

    SIZE = 64

    vendor_id: int = u16(0x00)
    device_id: int = u16(0x02)
    command: int = u16(0x04)
    status: int = u16(0x06)
    revision_id: int = u8(0x08)
    interface: int = u8(0x09)
    sub_class: int = u8(0x0A)
    base_class: int = u8(0x0B)
    cache_line_size: int = u8(0x0C)
    latency_timer: int = u8(0x0D)
    header_type: int = u8(0x0E)
    bist: int = u8(0x0F)
    base_address: list[int] = numbers(0x10, 4, 6)
    cardbus_cis: int = u32(0x28)
    subsystem_vendor_id: int = u16(0x2C)
    subsystem_id: int = u16(0x2E)
    expansion_rom: int = u32(0x30)
    capabilities: int = u8(0x34)
    reserved: bytes = array(0x35, 7)
    interrupt_line: int = u8(0x3C)
    interrupt_pin: int = u8(0x3D)
    min_gnt: int = u8(0x3E)
    max_lat: int = u8(0x3F)
