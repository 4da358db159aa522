"""Texts from hostile files and guests, as a terminal may show them: nothing in them moves its cursor or hides what follows."""

from __future__ import annotations

import codecs
import re

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_OBEYED = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without HT and LF, DEL, C1 (ECMA-48)
    "\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # Unicode's format characters (Cf, Zl, Zp)
    "\U000e0000-\U000e007f\ud800-\udfff"  # tags, and halves of characters, which cannot be encoded
)
_LINES = re.compile(f"[{_OBEYED}]")
_ONE_LINE = re.compile(f"[\t\n{_OBEYED}]")
_CONTROL_SEQUENCE = re.compile("\x1b\\[[0-?]*[ -/]*[@-~]")
"""A control sequence, such as a colour or a movement of the cursor (ECMA-48, 5.4)."""
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]{0,32}[ -/]{0,4})?$")
_CONSOLE = re.compile("[\x00-\x07\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str) -> str:
    """Text of several lines without control characters, except line ends and tabs."""
    return _LINES.sub(REPLACEMENT, text)


def plain_line(text: str) -> str:
    """The same for text that has to stay on one line."""
    return _ONE_LINE.sub(REPLACEMENT, text)


def plain_json(text: str) -> str:
    """The same JSON document, with such characters as escapes."""
    import json  # noqa: PLC0415 - most of a millisecond that --help saves

    return _LINES.sub(lambda found: json.dumps(found[0])[1:-1], text)


class SafeConsole:
    """Turns what a guest writes to its console, byte by byte as it comes, into text for a terminal. Control sequences are
    left out; other control characters are shown as `cat -v` shows them, except line ends, tabs and backspaces.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def __call__(self, data: bytes, *, final: bool = False) -> bytes:
        """What to write now; the beginning of a control sequence waits for its end."""
        text = self._rest + self._decoder.decode(data, final)
        text = _CONTROL_SEQUENCE.sub("", text)
        unfinished = None if final else _UNFINISHED.search(text)
        self._rest = unfinished[0] if unfinished else ""
        text = text[: len(text) - len(self._rest)]
        return _CONSOLE.sub(_visible, text).encode("utf-8", "backslashreplace")


def _visible(found: re.Match[str]) -> str:
    number = ord(found[0])
    if number < 0x20:
        return f"^{chr(number + 0x40)}"
    return "^?" if number == 0x7F else f"\\u{number:04x}"
