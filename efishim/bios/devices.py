"""Int 13h, 14h and 17h: disks (none), serial ports, printers (none)."""

from __future__ import annotations

from efishim.bios.data_area import DataArea
from efishim.bios.frame import Frame
from efishim.machine.cpu import Board

BAD_PARAMETER = 0x01
HARD_DISK = 0x80
DIVISOR, LINE_CONTROL, LINE_STATUS, MODEM_STATUS = 0, 3, 5, 6
DLAB = 0x80
DATA_READY, ROOM_TO_SEND, TIMEOUT = 0x01, 0x20, 0x80
DIVISORS = (1047, 768, 384, 192, 96, 48, 24, 12)
"""110 to 9600 baud, by bits 5 to 7 of AL (int 14h/00)."""


class DiskServices:
    """A machine without disks: every function fails, and its status stays in the data area.

    Status 1 ("invalid function or parameter") for a drive that does not exist is also SeaBIOS's answer.
    """

    def __init__(self, area: DataArea) -> None:
        self._area = area

    def __call__(self, frame: Frame) -> None:
        """Int 13h."""
        hard = frame["dl"] >= HARD_DISK
        place = "disk_status" if hard else "floppy_status"
        if frame["ah"] == 0x01:
            frame["ah"] = self._area[place]
            frame.carry = bool(frame["ah"])
            return
        if frame["ah"] == 0x00 and not hard:
            self._area[place] = 0
            frame.done()  # resetting a controller without drives
            return
        if frame["ah"] == 0x08 and not hard:
            for register in ("ax", "bx", "cx", "dx", "di"):
                frame[register] = 0  # DL is the number of drives
            frame.set_es(0)
            frame.carry = False
            return
        self._area[place] = BAD_PARAMETER
        frame.fail(BAD_PARAMETER)


class SerialServices:
    """Int 14h on the ports that the data area lists."""

    def __init__(self, board: Board, ports: tuple[int, ...]) -> None:
        self._board = board
        self._uarts = ports

    def _in(self, port: int) -> int:
        return self._board.ports.read(port, 1)

    def _out(self, port: int, value: int) -> None:
        self._board.ports.write(port, 1, value)

    def __call__(self, frame: Frame) -> None:
        """Int 14h: DX is the number of the port."""
        number = frame["dx"]
        if number >= len(self._uarts):
            frame.unknown = frame.carry = True  # as SeaBIOS: no register changes
            return
        frame.carry = False
        port = self._uarts[number]
        match frame["ah"]:
            case 0x00:
                self._set_up(port, frame["al"])
                self._status(frame, port)
            case 0x01:
                self._out(port, frame["al"])
                frame["ah"] = self._in(port + LINE_STATUS)
            case 0x02:
                status = self._in(port + LINE_STATUS)
                if status & DATA_READY:
                    frame["al"] = self._in(port)
                    frame["ah"] = status & 0x1E
                else:
                    frame["ah"] = TIMEOUT
            case 0x03:
                self._status(frame, port)
            case _:
                frame.unknown = frame.carry = True

    def _status(self, frame: Frame, port: int) -> None:
        frame["ah"] = self._in(port + LINE_STATUS)
        frame["al"] = self._in(port + MODEM_STATUS)

    def _set_up(self, port: int, parameters: int) -> None:
        divisor = DIVISORS[parameters >> 5]
        self._out(port + LINE_CONTROL, DLAB)
        self._out(port + DIVISOR, divisor & 0xFF)
        self._out(port + DIVISOR + 1, divisor >> 8)
        self._out(port + LINE_CONTROL, parameters & 0x1F)
