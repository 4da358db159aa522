"""The BIOS data area at 0x400 and the extended BIOS data area, by field name (wire/bios.py); programs read them directly."""

from __future__ import annotations

from types import MappingProxyType

from efishim.machine.memory import PhysicalMemory
from efishim.wire import bios as wire

BASE, SIZE = 0x400, wire.DataArea.SIZE
FIELDS = MappingProxyType({leaf.name: leaf for leaf in wire.DataArea.leaves()})

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
        leaf = FIELDS[name]
        return int.from_bytes(self._memory.read(BASE + leaf.offset, leaf.size), "little")

    def __setitem__(self, name: str, value: int) -> None:
        leaf = FIELDS[name]
        self._memory.write(BASE + leaf.offset, (value & (1 << 8 * leaf.size) - 1).to_bytes(leaf.size, "little"))

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
        memory.write(BASE + FIELDS["serial_timeout"].offset + number, b"\x0a")
    area["equipment"] = EQUIPMENT_FPU | len(serial_ports[:4]) << EQUIPMENT_SERIAL_SHIFT
    area["ebda_segment"] = ebda >> 4
    area["memory_kib"] = ebda >> 10
    area["keyboard_start"] = area["keyboard_head"] = area["keyboard_tail"] = KEYBOARD_BUFFER
    area["keyboard_end"] = KEYBOARD_BUFFER_END
    area["keyboard_kind"] = ENHANCED_KEYBOARD
    return area
