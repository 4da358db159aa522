"""Int 08h, 1Ah and 70h: the tick count and the battery-backed clock.

Sources: IBM PS/2 and PC BIOS Interface Technical Reference, int 1Ah; MC146818 register layout.
"""

from __future__ import annotations

from efishim.bios.data_area import DataArea
from efishim.bios.frame import Frame
from efishim.machine.cpu import Board
from efishim.platform.devices.rtc import from_bcd

TICKS_A_DAY = 0x1800B0
"""Periods of the timer, 65536 / 1193182 s, in 24 hours."""
INDEX, DATA = 0x70, 0x71
SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR, REG_B, REG_C, CENTURY = 0x00, 0x02, 0x04, 0x07, 0x08, 0x09, 0x0B, 0x0C, 0x32
SET, DAYLIGHT = 0x80, 0x01


class ClockServices:
    """Ticks come from interrupts of the timer, or stand still."""

    def __init__(self, board: Board, area: DataArea, *, rtc: bool) -> None:
        self._board = board
        self._area = area
        self._rtc = rtc

    def _get(self, register: int) -> int:
        self._board.ports.write(INDEX, 1, register)
        return self._board.ports.read(DATA, 1)

    def _set(self, register: int, value: int) -> None:
        self._board.ports.write(INDEX, 1, register)
        self._board.ports.write(DATA, 1, value)

    def start(self) -> None:
        """Set the tick count from the time of day."""
        if self._rtc:
            hours, minutes, seconds = (from_bcd(self._get(register)) for register in (HOURS, MINUTES, SECONDS))
            self._area["ticks"] = (hours * 3600 + minutes * 60 + seconds) * TICKS_A_DAY // 86400

    def tick(self) -> None:
        """Int 08h: one period of the timer has passed."""
        ticks = self._area["ticks"] + 1
        if ticks >= TICKS_A_DAY:
            ticks = 0
            self._area["midnight"] = 1
        self._area["ticks"] = ticks

    def alarm(self) -> None:
        """Int 70h: take note of what the clock wanted, so that it can interrupt again."""
        if self._rtc:
            self._get(REG_C)

    def __call__(self, frame: Frame) -> None:
        """Int 1Ah. There is no PCI BIOS (B1xx): the guest has to find configuration space itself."""
        match frame["ah"]:
            case 0x00:
                ticks = self._area["ticks"]
                frame["cx"], frame["dx"] = ticks >> 16, ticks & 0xFFFF
                frame["al"], self._area["midnight"] = self._area["midnight"], 0
                frame.done()
            case 0x01:
                self._area["ticks"] = frame["cx"] << 16 | frame["dx"]
                self._area["midnight"] = 0
                frame.done()
            case 0x02 if self._rtc:
                frame["ch"], frame["cl"] = self._get(HOURS), self._get(MINUTES)
                frame["dh"], frame["dl"] = self._get(SECONDS), self._get(REG_B) & DAYLIGHT
                frame.done()
            case 0x03 if self._rtc:
                self._store({HOURS: "ch", MINUTES: "cl", SECONDS: "dh"}, frame)
            case 0x04 if self._rtc:
                frame["ch"], frame["cl"] = self._get(CENTURY), self._get(YEAR)
                frame["dh"], frame["dl"] = self._get(MONTH), self._get(DAY)
                frame.done()
            case 0x05 if self._rtc:
                self._store({CENTURY: "ch", YEAR: "cl", MONTH: "dh", DAY: "dl"}, frame)
            case 0xB1:
                frame.refuse()
            case _:
                frame.unknown = frame.carry = True

    def _store(self, registers: dict[int, str], frame: Frame) -> None:
        control = self._get(REG_B)
        self._set(REG_B, control | SET)
        for register, name in registers.items():
            self._set(register, frame[name])
        self._set(REG_B, control & ~SET)
        frame.done()
