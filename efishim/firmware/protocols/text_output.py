"""EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL (UEFI 2.10, 12.4) on a text console, such as a serial line.

Text goes to the sink as it is; the mode structure follows the cursor as a screen of 80 by 25 would, so that programs which
draw see what they expect.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.wire.uefi_protocols import SimpleTextOutputMode, SimpleTextOutputProtocol

FUNCTIONS = functions(
    """
    SimpleTextOutput 12.4.2 Reset This:ptr ExtendedVerification:bool
    SimpleTextOutput 12.4.3 OutputString This:ptr String:str
    SimpleTextOutput 12.4.4 TestString This:ptr String:str
    SimpleTextOutput 12.4.5 QueryMode This:ptr ModeNumber:uintn Columns:>uintn Rows:>uintn
    SimpleTextOutput 12.4.6 SetMode This:ptr ModeNumber:uintn
    SimpleTextOutput 12.4.7 SetAttribute This:ptr Attribute:uintn
    SimpleTextOutput 12.4.8 ClearScreen This:ptr
    SimpleTextOutput 12.4.9 SetCursorPosition This:ptr Column:uintn Row:uintn
    SimpleTextOutput 12.4.10 EnableCursor This:ptr Visible:bool
    """
)

MODES = ((80, 25), None, (100, 31))
"""Columns and rows; mode 1 (80 by 50) must be listed and may be missing (12.4.5)."""

LARGEST_ATTRIBUTE = 0x7F
STARTING_ATTRIBUTE = 0x07
NUL, BACKSPACE, LINE_FEED, CARRIAGE_RETURN = 0, 8, 10, 13


class TextOutput:
    """One console; ConOut and StdErr are two of these on one sink."""

    def __init__(self, context: ProtocolContext, sink: Callable[[str], None]) -> None:
        self._guest = context.guest
        self._board = context.board
        self._sink = sink
        self._state = SimpleTextOutputMode(MaxMode=len(MODES), Attribute=STARTING_ATTRIBUTE, CursorVisible=1)
        self._mode_at = context.place(bytes(SimpleTextOutputMode.sizeof()))
        handlers: dict[str, Handler] = {
            "Reset": self.reset,
            "OutputString": self.output_string,
            "TestString": self.test_string,
            "QueryMode": self.query_mode,
            "SetMode": self.set_mode,
            "SetAttribute": self.set_attribute,
            "ClearScreen": self.clear_screen,
            "SetCursorPosition": self.set_cursor_position,
            "EnableCursor": self.enable_cursor,
        }
        fields = {"Mode": self._mode_at}
        self.interface = context.interface(FUNCTIONS, SimpleTextOutputProtocol, handlers, fields)
        self._update()

    def _update(self, **changes: int) -> int:
        for name, value in changes.items():
            setattr(self._state, name, value)
        self._board.memory.write(self._mode_at, self._state.build())
        return Status.SUCCESS

    @property
    def _size(self) -> tuple[int, int]:
        return MODES[self._state.Mode] or (80, 25)

    def reset(self, this: int, extended: int) -> int:
        """Reset (12.4.2)."""
        del extended
        demand(this == self.interface)
        return self._update(Mode=0, Attribute=STARTING_ATTRIBUTE, CursorColumn=0, CursorRow=0, CursorVisible=1)

    def output_string(self, this: int, string: int) -> int:
        """OutputString (12.4.3)."""
        demand(this == self.interface)
        text = self._guest.string(string)
        self._sink(text)
        self._move(text)
        return Status.SUCCESS

    def _move(self, text: str) -> None:
        columns, rows = self._size
        column, row = self._state.CursorColumn, self._state.CursorRow
        for character in text:
            match ord(character):
                case 8:
                    column = max(0, column - 1)
                case 10:
                    row += 1
                case 13:
                    column = 0
                case _:
                    column += 1
                    if column == columns:
                        column, row = 0, row + 1
            row = min(row, rows - 1)
        self._update(CursorColumn=column, CursorRow=row)

    def test_string(self, this: int, string: int) -> int:
        """TestString (12.4.4): UTF-8 shows everything but lone surrogates."""
        demand(this == self.interface)
        text = self._guest.string(string)
        demand(not any(0xD800 <= ord(character) <= 0xDFFF for character in text), Status.UNSUPPORTED)
        return Status.SUCCESS

    def query_mode(self, this: int, number: int, columns: int, rows: int) -> int:
        """QueryMode (12.4.5)."""
        demand(this == self.interface and columns and rows)
        size = MODES[number] if number < len(MODES) else None
        demand(size, Status.UNSUPPORTED)
        assert size is not None
        self._guest.put_uintn(columns, size[0])
        self._guest.put_uintn(rows, size[1])
        return Status.SUCCESS

    def set_mode(self, this: int, number: int) -> int:
        """SetMode (12.4.6)."""
        demand(this == self.interface)
        demand(number < len(MODES) and MODES[number], Status.UNSUPPORTED)
        return self._update(Mode=number, CursorColumn=0, CursorRow=0)

    def set_attribute(self, this: int, attribute: int) -> int:
        """SetAttribute (12.4.7). Colours are kept, and not shown."""
        demand(this == self.interface)
        demand(attribute <= LARGEST_ATTRIBUTE, Status.UNSUPPORTED)
        return self._update(Attribute=attribute)

    def clear_screen(self, this: int) -> int:
        """ClearScreen (12.4.8)."""
        demand(this == self.interface)
        return self._update(CursorColumn=0, CursorRow=0)

    def set_cursor_position(self, this: int, column: int, row: int) -> int:
        """SetCursorPosition (12.4.9)."""
        demand(this == self.interface)
        columns, rows = self._size
        demand(column < columns and row < rows, Status.UNSUPPORTED)
        return self._update(CursorColumn=column, CursorRow=row)

    def enable_cursor(self, this: int, visible: int) -> int:
        """EnableCursor (12.4.10)."""
        demand(this == self.interface)
        return self._update(CursorVisible=int(bool(visible)))
