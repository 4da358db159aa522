"""What a PC's BIOS leaves in memory, in fields where programs look themselves.

Places: IBM PC/AT Technical Reference, "ROM BIOS data area"; the video part from the EGA and VGA on, and the table of int
15h: IBM PS/2 and PC BIOS Interface Technical Reference, sections 2 and 3.
"""

from __future__ import annotations

from efishim.wire.layout import Layout, array, u8, u16, u32


class DataArea(Layout):
    """The BIOS data area, as far as anything here uses it."""

    SIZE = 0x100

    com1: int = u16(0x00)
    ebda_segment: int = u16(0x0E)
    equipment: int = u16(0x10)
    memory_kib: int = u16(0x13)
    keyboard_flags: int = u16(0x17)
    keyboard_head: int = u16(0x1A)
    keyboard_tail: int = u16(0x1C)
    floppy_status: int = u8(0x41)
    video_mode: int = u8(0x49)
    video_columns: int = u16(0x4A)
    video_page_size: int = u16(0x4C)
    video_page_start: int = u16(0x4E)
    cursor: int = u16(0x50)
    cursor_shape: int = u16(0x60)
    video_page: int = u8(0x62)
    video_port: int = u16(0x63)
    ticks: int = u32(0x6C)
    midnight: int = u8(0x70)
    soft_reset: int = u16(0x72)
    disk_status: int = u8(0x74)
    disks: int = u8(0x75)
    serial_timeout: int = u8(0x7C)
    keyboard_start: int = u16(0x80)
    keyboard_end: int = u16(0x82)
    video_rows_less_1: int = u8(0x84)
    character_height: int = u16(0x85)
    video_control: int = u8(0x87)
    video_switches: int = u8(0x88)
    video_flags: int = u8(0x89)
    display_combination: int = u8(0x8A)
    keyboard_kind: int = u8(0x96)


class ConfigurationTable(Layout):
    """What int 15h AH=C0h points to."""

    SIZE = 10

    length: int = u16(0)
    model: int = u8(2)
    submodel: int = u8(3)
    bios_revision: int = u8(4)
    features: bytes = array(5, 5)
