"""Int 11h, 12h and 15h: equipment list, memory size, and the AT's "system services".

Sources: IBM PS/2 and PC BIOS Interface Technical Reference (int 15h); ACPI 6.5 section 15.1 (E820); AMD64 "Detect Target
Operating Mode Callback" (EC00); Phoenix BIOS manual as in Ralf Brown's interrupt list (E801, 24xx).
"""

from __future__ import annotations

from collections.abc import Sequence

from efishim.bios import rom
from efishim.bios.data_area import DataArea
from efishim.bios.frame import Frame
from efishim.bios.memory import below_and_above_16m, extended_kib
from efishim.machine.clock import Event
from efishim.machine.cpu import Board
from efishim.memory_range import MemoryRange
from efishim.wire.acpi import AddressRange
from efishim.wire.x86 import segment_descriptor

SMAP = 0x534D_4150
ENTRY_SIZE, EXTENDED_SIZE = 20, AddressRange.SIZE
ENABLED = 1
"""Extended attributes, bit 0: ACPI 3.0's "do not ignore this entry", reserved and 1 since ACPI 4.0."""
LARGEST_MOVE = 0x8000
"""Words, int 15h/87."""
A20_PORT92 = 0x02
POSTED = 0x80
"""What int 15h/83 sets when the time is over."""


class SystemServices:
    """`memory` is the map that is told."""

    def __init__(self, board: Board, area: DataArea, memory: Sequence[MemoryRange], *, port92: bool) -> None:
        self._board = board
        self._area = area
        self._memory = memory
        self._port92 = port92
        self._awaited: Event | None = None

    def equipment(self, frame: Frame) -> None:
        """Int 11h."""
        frame["ax"] = self._area["equipment"]

    def memory_size(self, frame: Frame) -> None:
        """Int 12h: KiB of conventional memory."""
        frame["ax"] = self._area["memory_kib"]

    def __call__(self, frame: Frame) -> None:
        """Int 15h."""
        match frame["ah"]:
            case 0x24:
                self._a20(frame)
            case 0x4F:
                frame.carry = True  # no intercept: the key stays as it is
            case 0x83:
                self._event(frame)
            case 0x86:
                self._wait(frame)
            case 0x87:
                self._move(frame)
            case 0x88:
                frame.carry = False
                frame["ax"] = extended_kib(self._memory)
            case 0x90 | 0x91:
                pass  # there is no other task to switch to
            case 0xC0:
                frame.done()
                frame.set_es(rom.SEGMENT)
                frame["bx"] = rom.CONFIG_TABLE
            case 0xC1:
                frame.carry = False
                frame.set_es(self._area["ebda_segment"])
            case 0xE8:
                self._sizes(frame)
            case 0xEC if frame["al"] == 0:
                frame.done()  # the target mode, in BL, changes nothing here
            case _:
                frame.refuse()

    def _a20(self, frame: Frame) -> None:
        match frame["al"]:
            case 0x01:
                frame.done()
            case 0x02:
                frame.done()
                frame["al"] = 1
            case 0x03:
                frame.done()
                frame["bx"] = A20_PORT92 if self._port92 else 0
            case _:
                frame.refuse()  # 2400 closes the gate, which is always open here

    def _wait(self, frame: Frame) -> None:
        """CX:DX microseconds; there is one wait at a time."""
        if self._awaited is not None:
            frame.fail(0x83)
            return
        microseconds = frame["cx"] << 16 | frame["dx"]
        self._board.skip_to(self._board.now() + microseconds * 1000)
        frame.carry = False

    def _event(self, frame: Frame) -> None:
        """Set bit 7 of the byte at ES:BX after CX:DX microseconds, or do not (AL = 1)."""
        clock = self._board.clock
        if frame["al"] == 1:
            if self._awaited is not None:
                clock.cancel(self._awaited)
            self._awaited = None
            frame.carry = False
            return
        if self._awaited is not None or frame["al"]:
            frame["al"] -= bool(frame["al"])  # as SeaBIOS does
            frame.fail(0x86)
            return
        place = (self._board.cpu.get("es") << 4) + frame["bx"]
        microseconds = frame["cx"] << 16 | frame["dx"]
        self._awaited = clock.at(self._board.now() + microseconds * 1000, lambda: self._elapsed(place))
        frame.carry = False

    def _elapsed(self, place: int) -> None:
        self._awaited = None
        memory = self._board.memory
        region = memory.find(place)
        if region is not None and region.writable:
            memory.write(place, bytes([memory.u8(place) | POSTED]))

    def _move(self, frame: Frame) -> None:
        """Copy CX words between the two segments whose descriptors lie at ES:SI+10h and +18h."""
        words = frame["cx"]
        if words > LARGEST_MOVE:
            frame.fail(0x02)
            return
        table = frame.load("es", frame["si"] + 0x10, 16)
        source, target = (segment_descriptor(int.from_bytes(raw, "little")).base for raw in (table[:8], table[8:]))
        frame.write_physical(target, frame.read_physical(source, 2 * words))
        frame.stored = True
        frame.done()
        frame.zero = True

    def _sizes(self, frame: Frame) -> None:
        match frame["al"]:
            case 0x01:
                low, high = below_and_above_16m(self._memory)
                frame.carry = False
                frame["ax"] = frame["cx"] = low
                frame["bx"] = frame["dx"] = high
            case 0x20:
                self._e820(frame)
            case _:
                frame.refuse()

    def _e820(self, frame: Frame) -> None:
        """The entry with number EBX to ES:DI. ECX is the room there; a caller of 24 bytes also gets the attributes."""
        number, room = frame["ebx"], frame["ecx"]
        if frame["edx"] != SMAP or room < ENTRY_SIZE or number >= len(self._memory):
            frame.fail(0x86)
            return
        piece = self._memory[number]
        entry = AddressRange(base=piece.start, length=piece.size, type=piece.kind.value, extended_attributes=ENABLED)
        size = EXTENDED_SIZE if room >= EXTENDED_SIZE else ENTRY_SIZE
        frame.store("es", frame["di"], entry.build()[:size])
        frame["eax"] = SMAP
        frame["ecx"] = size
        frame["ebx"] = number + 1 if number + 1 < len(self._memory) else 0
        frame.carry = False
