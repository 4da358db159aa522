"""Int 10h: text output. Without a display, text still goes to the console, as with the serial redirection of server firmware;
registers stay unchanged, because there is no video BIOS.

With a display: VGA text mode 3, 80 by 25. Source: IBM PS/2 and PC BIOS Interface Technical Reference, int 10h.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.bios import rom
from efishim.bios.config import Display
from efishim.bios.data_area import EQUIPMENT_COLOUR_80, DataArea
from efishim.bios.frame import Frame
from efishim.machine.cpu import Board

COLUMNS, ROWS, PAGE_SIZE, PAGES = 80, 25, 0x1000, 8
VIDEO_MEMORY, VIDEO_SIZE = 0xB_8000, 0x8000
LIGHT_GREY = 0x07
BELL, BACKSPACE, TAB, LINE_FEED, CARRIAGE_RETURN = 7, 8, 9, 10, 13
VGA_COLOUR = 8
"""Display combination code: a VGA with a colour monitor."""
TEXT_MODE_SET = 0x30
"""What a VGA's function 00 leaves in AL for modes 0 to 5 and 7."""
SELECTIONS = range(0x30, 0x37)
"""Of function 12: scan lines, palette loading, addressing, grey scales, cursor emulation, display switch, refresh. AL says
that there are such."""
DATA_AREA_OF_MODE_3 = {
    "video_mode": 3,
    "video_columns": COLUMNS,
    "video_page_size": PAGE_SIZE,
    "cursor_shape": 0x0607,
    "video_port": 0x3D4,
    "video_rows_less_1": ROWS - 1,
    "character_height": 16,
    "video_control": 0x60,
    "video_switches": 0xF9,
    "video_flags": 0x51,
    "display_combination": VGA_COLOUR,
}


class TextMemory:
    """32 KiB of characters and attributes at 0xb8000."""

    def __init__(self) -> None:
        self.data = bytearray(b" \x07" * (VIDEO_SIZE // 2))

    def read(self, offset: int, size: int) -> int:
        """Little-endian."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Little-endian; what would lie behind the end is lost."""
        kept = value.to_bytes(size, "little")[: VIDEO_SIZE - offset]
        self.data[offset : offset + len(kept)] = kept


BLANKS = frozenset({0x00, 0x20, 0xFF})
"""Characters that show nothing: drawing them only colours the cells that text comes to later."""


class Teletype:
    """What int 10h writes, as text for a console that knows no cursor.

    Functions 09 and 0A draw without moving the cursor, so that what is written to the same cells next is on the screen instead.
    `known` says that the guest has a screen, whose rows begin lines.
    """

    def __init__(self, sink: Callable[[str], None], *, known: bool) -> None:
        self._sink = sink
        self._known = known
        self._column = 0
        self._row = 0
        self._drawn: dict[tuple[int, int], int] = {}
        self._next = 0, 0
        """The cell behind the last character."""

    def draw(self, code: int, row: int, column: int, count: int) -> None:
        """A character, so many times from a cell on."""
        for at in range(column, column + min(count, COLUMNS)):
            cell = row, at
            if code in BLANKS:
                self._drawn[cell] = code
            elif self._drawn.get(cell) != code:
                self._text(code, row, at)
                self._drawn[cell] = code

    def put(self, code: int, row: int, column: int) -> None:
        """One character of code page 437, which moves the cursor; of the control characters only those that do that alone."""
        if code < 0x20:
            if code in (BACKSPACE, TAB, LINE_FEED, CARRIAGE_RETURN):
                self._control(code, row)
            return
        if self._drawn.pop((row, column), None) != code or code in BLANKS:
            self._text(code, row, column)
        else:
            self._next = row, column + 1

    def clear(self) -> None:
        """The screen changed as a whole."""
        self._drawn.clear()

    def _control(self, code: int, row: int) -> None:
        if self._known:
            self._row = min(row + 1, ROWS - 1) if code == LINE_FEED else row
        if code == LINE_FEED:
            self.clear()  # the rows may have moved
        self._send(code)

    def _text(self, code: int, row: int, column: int) -> None:
        line, behind = self._next
        if line == row and all(self._drawn.get((row, at)) in BLANKS for at in range(behind, column)):
            for _ in range(behind, column):
                self._send(0x20)
        self._next = row, column + 1
        if self._known:
            if row != self._row and self._column:
                self._send(CARRIAGE_RETURN)
                self._send(LINE_FEED)
            self._row = row
        self._send(code)

    def _send(self, code: int) -> None:
        self._column = 0 if code in (LINE_FEED, CARRIAGE_RETURN) else self._column + 1
        self._sink(bytes((code,)).decode("cp437"))


class VideoServices:
    """Int 10h."""

    def __init__(self, board: Board, area: DataArea, display: Display, console: Callable[[str], None]) -> None:
        self._area = area
        self._display = display
        self._teletype = Teletype(console, known=display is Display.TEXT)
        self._unseen = 0, 0
        """The cursor of the screen that is not there."""
        self._screen = TextMemory()
        if display is Display.TEXT:
            board.mmio.attach(VIDEO_MEMORY, VIDEO_SIZE, self._screen, "video memory")
            self._set_mode()

    def _set_mode(self) -> None:
        for name, value in DATA_AREA_OF_MODE_3.items():
            self._area[name] = value
        self._area["equipment"] |= EQUIPMENT_COLOUR_80
        self._area["video_page"] = self._area["video_page_start"] = 0
        for page in range(PAGES):
            self._move(page, 0, 0)

    def __call__(self, frame: Frame) -> None:
        """Int 10h."""
        self._redirect(frame)
        if self._display is Display.NONE:
            return
        match frame["ah"]:
            case 0x00:
                if frame["al"] & 0x7F in (2, 3):
                    self._set_mode()
                    if not frame["al"] & 0x80:
                        self._screen.data[:] = bytes((0x20, LIGHT_GREY)) * (VIDEO_SIZE // 2)
                    frame["al"] = TEXT_MODE_SET
            case 0x01:
                self._area["cursor_shape"] = frame["cx"]
            case 0x02:
                self._move(frame["bh"], frame["dh"], frame["dl"])
            case 0x03:
                frame["cx"] = self._area["cursor_shape"]
                frame["dx"] = self._cursor(frame["bh"])
            case 0x04:
                frame["ax"] = frame["bx"] = frame["cx"] = frame["dx"] = 0  # no light pen was triggered
            case 0x05:
                if frame["al"] < PAGES:
                    self._area["video_page"] = frame["al"]
                    self._area["video_page_start"] = frame["al"] * PAGE_SIZE
            case 0x06:
                self._scroll(frame, 1)
            case 0x07:
                self._scroll(frame, -1)
            case 0x08:
                row, column = divmod(self._cursor(frame["bh"]), 0x100)
                frame["ax"] = self._screen.read(self._at(frame["bh"], row, column), 2)
            case 0x09:
                self._fill(frame, frame["bl"])
            case 0x0A:
                self._fill(frame, None)
            case 0x0E:
                self._write(self._area["video_page"], frame["al"], None)
            case 0x0F:
                frame["al"] = self._area["video_mode"]
                frame["ah"] = self._area["video_columns"] & 0xFF
                frame["bh"] = self._area["video_page"]
            case 0x10:
                pass  # palettes: there is nothing to see
            case 0x13:
                self._write_string(frame)
            case _:
                self._tell(frame)

    def _tell(self, frame: Frame) -> None:
        """What the adapter is."""
        match frame["ah"]:
            case 0x11 if frame["al"] == 0x30:
                frame.set_es(rom.SEGMENT)
                frame["bp"] = rom.FONT
                frame["cx"], frame["dl"] = self._area["character_height"], self._area["video_rows_less_1"]
            case 0x12 if frame["bl"] == 0x10:
                frame["bx"], frame["cx"] = 0x0003, 0x0009  # colour, 256 KiB; feature bits and switches of a VGA
            case 0x12 if frame["bl"] in SELECTIONS:
                frame["al"] = 0x12
            case 0x1A if frame["al"] == 0:
                frame["al"] = 0x1A
                frame["bx"] = VGA_COLOUR
            case 0x1A if frame["al"] == 1:
                frame["al"] = 0x1A
            case _:
                frame.unknown = True  # VBE (4Fxx) among them: AL stays, which says so

    # The console

    def _redirect(self, frame: Frame) -> None:
        put, page = self._teletype.put, self._area["video_page"]
        match frame["ah"]:
            case 0x00 | 0x06 | 0x07:
                self._teletype.clear()
            case 0x02 if self._display is Display.NONE:
                self._unseen = frame["dh"], frame["dl"]
            case 0x09 | 0x0A:
                self._teletype.draw(frame["al"], *self._place(frame["bh"]), frame["cx"])
            case 0x0E:
                put(frame["al"], *self._place(page))
                self._advance(frame["al"])
            case 0x13:
                before = self._unseen
                self._unseen = frame["dh"], frame["dl"]
                row, column = self._unseen
                for number, (code, _) in enumerate(_string(frame)):
                    put(code, row, column + number)
                    self._advance(code)
                if not frame["al"] & 1:
                    self._unseen = before

    def _place(self, page: int) -> tuple[int, int]:
        """Where the cursor is, or would be if there were a screen."""
        if self._display is Display.NONE:
            return self._unseen
        row, column = divmod(self._cursor(page), 0x100)
        return row, column

    def _advance(self, code: int) -> None:
        row, column = _behind(code, *self._unseen)
        self._unseen = min(row, ROWS - 1), column

    # The screen. Rows and columns that the guest names may be anything: a cell outside of the page is cut to its memory.

    @staticmethod
    def _at(page: int, row: int, column: int) -> int:
        return (page % PAGES * PAGE_SIZE + 2 * ((row * COLUMNS + column) % (PAGE_SIZE // 2))) % VIDEO_SIZE

    def _cursor(self, page: int) -> int:
        return self._area.word(0x50 + 2 * (page % PAGES))

    def _move(self, page: int, row: int, column: int) -> None:
        self._area.put_word(0x50 + 2 * (page % PAGES), row << 8 | column)

    def _cell(self, at: int, code: int, attribute: int | None) -> None:
        self._screen.data[at] = code
        if attribute is not None:
            self._screen.data[at + 1] = attribute

    def _fill(self, frame: Frame, attribute: int | None) -> None:
        """AL at the cursor and behind it, CX times; the cursor stays."""
        row, column = divmod(self._cursor(frame["bh"]), 0x100)
        for number in range(min(frame["cx"], PAGE_SIZE // 2)):
            self._cell(self._at(frame["bh"], row, column + number), frame["al"], attribute)

    def _write(self, page: int, code: int, attribute: int | None) -> None:
        """A character as a teletype prints it."""
        row, column = divmod(self._cursor(page), 0x100)
        if code == BELL:
            return
        if code not in MOVES:
            self._cell(self._at(page, row, column), code, attribute)
        row, column = _behind(code, row, column)
        if row >= ROWS:
            row = ROWS - 1
            self._shift(page, (0, 0, ROWS - 1, COLUMNS - 1), 1, LIGHT_GREY)
        self._move(page, row, column)

    def _write_string(self, frame: Frame) -> None:
        page, mode, before = frame["bh"], frame["al"], self._cursor(frame["bh"])
        self._move(page, frame["dh"], frame["dl"])
        for code, attribute in _string(frame):
            self._write(page, code, attribute)
        if not mode & 1:
            self._move(page, *divmod(before, 0x100))

    def _scroll(self, frame: Frame, direction: int) -> None:
        top, left = min(frame["ch"], ROWS - 1), min(frame["cl"], COLUMNS - 1)
        bottom, right = min(frame["dh"], ROWS - 1), min(frame["dl"], COLUMNS - 1)
        if top <= bottom and left <= right:
            lines = frame["al"] or ROWS
            self._shift(self._area["video_page"], (top, left, bottom, right), direction * lines, frame["bh"])

    def _shift(self, page: int, window: tuple[int, int, int, int], lines: int, attribute: int) -> None:
        """Move a window's rows up by `lines` (down when negative); what comes in is blank."""
        top, left, bottom, right = window
        size = 2 * (right - left + 1)
        old = [bytes(self._screen.data[at : at + size]) for at in (self._at(page, y, left) for y in range(top, bottom + 1))]
        blank = bytes((0x20, attribute)) * (right - left + 1)
        for number in range(len(old)):
            source = number + lines
            row = old[source] if 0 <= source < len(old) else blank
            at = self._at(page, top + number, left)
            self._screen.data[at : at + size] = row


MOVES = frozenset({BACKSPACE, LINE_FEED, CARRIAGE_RETURN})
"""Characters that only move the cursor."""


def _behind(code: int, row: int, column: int) -> tuple[int, int]:
    """Where the cursor is behind a character; the row may be one below the screen."""
    if code == BACKSPACE:
        column = max(column - 1, 0)
    elif code == LINE_FEED:
        row += 1
    elif code == CARRIAGE_RETURN:
        column = 0
    elif code != BELL:
        column += 1
    return (row + 1, 0) if column >= COLUMNS else (row, column)


def _string(frame: Frame) -> list[tuple[int, int | None]]:
    """The characters of int 10h/13 at ES:BP with their attributes, which are in the string when bit 1 of AL says so."""
    count = min(frame["cx"], 0x1000)
    if frame["al"] & 2:
        raw = frame.load("es", frame["bp"], 2 * count)
        return list(zip(raw[::2], raw[1::2], strict=True))
    return [(code, frame["bl"]) for code in frame.load("es", frame["bp"], count)]
