"""Int 16h: keyboard input, from the keys given in the run's options through the buffer in the data area."""

from __future__ import annotations

from collections import deque

from efishim.bios.data_area import KEYBOARD_BUFFER, KEYBOARD_BUFFER_END, DataArea
from efishim.bios.frame import Frame
from efishim.machine.cpu import Board

POLL = 10_000_000
"""Time that passes at a question for a key that is not there (ns), so that a countdown ends."""
PATIENCE = 10_000
"""Polls in a row, 100 s, after which no key is expected any more."""
FUNCTIONS, KEYBOARD_ID, EXTENDED = 0x30, 0x41AB, 0x80
"""That there are functions 0A and 10 to 12; what a keyboard of 101 keys answers to its identify command; that 10 to 12 work."""
SCAN_CODES = {
    code: scan
    for first, row in ((0x02, "1234567890-=\b\t"), (0x10, "qwertyuiop[]\r"), (0x1E, "asdfghjkl;'`"), (0x2B, "\\zxcvbnm,./"))
    for scan, code in enumerate(row, first)
} | {" ": 0x39, "\x1b": 0x01}
"""Set 1 of a US keyboard. Characters that need Shift have their key's code, which no caller here needs."""


def key_word(character: str) -> int:
    """Scan code and character as int 16h gives them."""
    code = "\r" if character == "\n" else character
    return SCAN_CODES.get(code.lower(), 0) << 8 | ord(code) & 0x7F


class KeyboardServices:
    """Int 16h. `on_wait` is called when the guest waits for a key that will not come."""

    def __init__(self, board: Board, area: DataArea, keys: str) -> None:
        self._board = board
        self._area = area
        self._typed = deque(key_word(character) for character in keys)
        self._polls = 0

    def _ring(self) -> tuple[int, int]:
        """Head and tail, sane whatever the guest put there."""
        head, tail = self._area["keyboard_head"], self._area["keyboard_tail"]
        places = range(KEYBOARD_BUFFER, KEYBOARD_BUFFER_END, 2)
        if head not in places or tail not in places:
            head = tail = KEYBOARD_BUFFER
            self._area["keyboard_head"] = self._area["keyboard_tail"] = KEYBOARD_BUFFER
        return head, tail

    @staticmethod
    def _after(place: int) -> int:
        return KEYBOARD_BUFFER if place + 2 >= KEYBOARD_BUFFER_END else place + 2

    def _put(self, key: int) -> bool:
        head, tail = self._ring()
        if self._after(tail) == head:
            return False
        self._area.put_word(tail, key)
        self._area["keyboard_tail"] = self._after(tail)
        return True

    def _peek(self) -> int | None:
        while self._typed and self._put(self._typed[0]):
            self._typed.popleft()
        head, tail = self._ring()
        return None if head == tail else self._area.word(head)

    def _take(self) -> None:
        self._polls = 0
        self._area["keyboard_head"] = self._after(self._area["keyboard_head"])

    def _nothing(self) -> None:
        self._polls += 1
        if self._polls > PATIENCE:
            self._board.stop("halted")
        self._board.skip_to(self._board.now() + POLL)

    def __call__(self, frame: Frame) -> None:
        """Int 16h."""
        match frame["ah"]:
            case 0x00 | 0x10:
                key = self._peek()
                if key is None:
                    self._board.stop("halted")  # it would wait for ever
                    return
                self._take()
                frame["ax"] = key
            case 0x01 | 0x11:
                key = self._peek()
                frame.zero = key is None
                if key is None:
                    self._nothing()
                else:
                    frame["ax"] = key
            case 0x02:
                frame["al"] = self._area["keyboard_flags"] & 0xFF
            case 0x12:
                frame["ax"] = self._area["keyboard_flags"]
            case 0x03:
                pass  # the rate at which no key repeats
            case 0x09:
                frame["al"] = FUNCTIONS
            case 0x0A:
                frame["bx"] = KEYBOARD_ID
            case 0x92:
                frame["ah"] = EXTENDED
            case 0x05:
                frame["al"] = 0 if self._put(frame["cx"]) else 1
            case _:
                frame.unknown = True
