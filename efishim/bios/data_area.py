"""The BIOS data area at 0x400 and the extended BIOS data area, by field name; programs read them directly.

Places: IBM PC/AT Technical Reference, "ROM BIOS data area"; the video part from the EGA and VGA on: IBM PS/2 and PC BIOS
Interface Technical Reference, section 3.
"""

from __future__ import annotations

import struct

from efishim.machine.memory import PhysicalMemory

BASE, SIZE = 0x400, 0x100
FIELDS: dict[str, tuple[int, str]] = {
    "com1": (0x00, "H"),
    "ebda_segment": (0x0E, "H"),
    "equipment": (0x10, "H"),
    "memory_kib": (0x13, "H"),
    "keyboard_flags": (0x17, "H"),
    "keyboard_head": (0x1A, "H"),
    "keyboard_tail": (0x1C, "H"),
    "floppy_status": (0x41, "B"),
    "video_mode": (0x49, "B"),
    "video_columns": (0x4A, "H"),
    "video_page_size": (0x4C, "H"),
    "video_page_start": (0x4E, "H"),
    "cursor": (0x50, "H"),
    "cursor_shape": (0x60, "H"),
    "video_page": (0x62, "B"),
    "video_port": (0x63, "H"),
    "ticks": (0x6C, "I"),
    "midnight": (0x70, "B"),
    "soft_reset": (0x72, "H"),
    "disk_status": (0x74, "B"),
    "disks": (0x75, "B"),
    "serial_timeout": (0x7C, "B"),
    "keyboard_start": (0x80, "H"),
    "keyboard_end": (0x82, "H"),
    "video_rows_less_1": (0x84, "B"),
    "character_height": (0x85, "H"),
    "video_control": (0x87, "B"),
    "video_switches": (0x88, "B"),
    "video_flags": (0x89, "B"),
    "display_combination": (0x8A, "B"),
    "keyboard_kind": (0x96, "B"),
}

EQUIPMENT_FPU, EQUIPMENT_COLOUR_80 = 0x0002, 0x0020
EQUIPMENT_SERIAL_SHIFT = 9
KEYBOARD_BUFFER, KEYBOARD_BUFFER_END = 0x1E, 0x3E
"""Offsets in segment 0x40 of 16 words."""
ENHANCED_KEYBOARD = 0x10


class DataArea:
    """The fields in guest memory. The guest may have written anything there."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self._memory = memory

    def __getitem__(self, name: str) -> int:
        offset, kind = FIELDS[name]
        value: int = struct.unpack(f"<{kind}", self._memory.read(BASE + offset, struct.calcsize(f"<{kind}")))[0]
        return value

    def __setitem__(self, name: str, value: int) -> None:
        offset, kind = FIELDS[name]
        size = struct.calcsize(f"<{kind}")
        self._memory.write(BASE + offset, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def word(self, offset: int) -> int:
        """The word at an offset in the segment, for tables in it."""
        return self._memory.u16(BASE + offset)

    def put_word(self, offset: int, value: int) -> None:
        """Store such a word."""
        self._memory.put_u16(BASE + offset, value & 0xFFFF)


def prepare(memory: PhysicalMemory, *, ebda: int, ebda_kib: int, serial_ports: tuple[int, ...]) -> DataArea:
    """Fill both areas as power-on leaves them on a machine without display, keyboard and disks."""
    memory.write(BASE, bytes(SIZE))
    memory.write(ebda, bytes((ebda_kib,)) + bytes(ebda_kib * 1024 - 1))
    area = DataArea(memory)
    for number, port in enumerate(serial_ports[:4]):
        area.put_word(2 * number, port)
        memory.write(BASE + FIELDS["serial_timeout"][0] + number, b"\x0a")
    area["equipment"] = EQUIPMENT_FPU | len(serial_ports[:4]) << EQUIPMENT_SERIAL_SHIFT
    area["ebda_segment"] = ebda >> 4
    area["memory_kib"] = ebda >> 10
    area["keyboard_start"] = area["keyboard_head"] = area["keyboard_tail"] = KEYBOARD_BUFFER
    area["keyboard_end"] = KEYBOARD_BUFFER_END
    area["keyboard_kind"] = ENHANCED_KEYBOARD
    return area
