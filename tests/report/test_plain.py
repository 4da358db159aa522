"""Texts for a terminal: nothing in them is obeyed."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.report.plain import SafeConsole, plain, plain_json, plain_line

FORMAT = {"Cc", "Cf", "Cs", "Zl", "Zp"}
KEPT_FORMAT = {chr(number) for number in (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)}
"""Marks that belong to the text of a script (Arabic, Syriac, Kaithi), and controls of hieroglyphs, notes and shorthand."""
KEPT_BLOCKS = (range(0x13430, 0x13460), range(0x1BCA0, 0x1BCA4), range(0x1D173, 0x1D17B))

HOSTILE = [
    "\x1b[2J\x1b[1;1Hroot# ",  # clear the screen
    "\x1b]0;title\x07",  # the window's title
    "\x1b]52;c;cm0gLXJm\x07",  # the clipboard
    "\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\",
    "\x1bP$q\x1b\\",  # a query that the terminal answers on stdin
    "\x9b2J",  # the same in one byte
    "\x1b[8mhidden\x1b[0m",
    "\x07\x08\x0b\x0c\x0e\x0f\x7f",
    "\u202egnp.exe\u2066",  # from right to left
    "a\u2028b",
]


def obeyed(char: str) -> bool:
    known = char in KEPT_FORMAT or any(ord(char) in block for block in KEPT_BLOCKS)
    return unicodedata.category(char) in FORMAT and not known


@pytest.mark.slow
def test_every_character_that_is_none_is_replaced() -> None:
    """Against Unicode's own table."""
    for number in range(0x110000):
        char = chr(number)
        wanted = obeyed(char) and char not in "\t\n"
        assert (plain(char) != char) == wanted or unicodedata.category(char) == "Cn", hex(number)
    assert plain("\t\n") == "\t\n"
    assert plain_line("\t\n") == "\N{REPLACEMENT CHARACTER}" * 2


@pytest.mark.parametrize("text", HOSTILE)
def test_json_stays_the_same_document(text: str) -> None:
    document = json.dumps({text: [text]}, ensure_ascii=False, indent=1)
    assert not any(map(obeyed, plain_json(document).replace("\n", "")))
    assert json.loads(plain_json(document)) == {text: [text]}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_nothing_of_a_console_is_obeyed(text: str, size: int) -> None:
    console, data = SafeConsole(), text.encode()
    shown = b"".join(console(data[at : at + size]) for at in range(0, len(data), size)) + console(b"", final=True)
    assert not any(obeyed(char) and char not in "\t\n\r\b" for char in shown.decode())


def test_a_console_is_readable() -> None:
    console = SafeConsole()
    assert console(b"\x1b[0;1;32m[  OK  ]\x1b[0m started \xc3") == b"[  OK  ] started "
    assert console(b"\xa9t\xc3\xa9\r\n\tx\b\x1b") == "été\r\n\tx\b".encode()
    assert console(b"[3") == b""
    assert console(b"1mred\x00\xff\x7f") == rb"red^@\xff^?"
    assert console(b"\x1b", final=True) == b"^["


@given(st.binary(max_size=60), st.integers(1, 10))
def test_pieces_make_no_difference(data: bytes, size: int) -> None:
    whole, pieces = SafeConsole(), SafeConsole()
    expected = whole(data) + whole(b"", final=True)
    assert b"".join(pieces(data[at : at + size]) for at in range(0, len(data), size)) + pieces(b"", final=True) == expected
    assert b"\x1b" not in expected


def test_a_sequence_without_end_is_shown_and_not_kept() -> None:
    console = SafeConsole()
    shown = b"".join(console(b"\x1b[" if not at else b"1;") for at in range(1000))
    assert shown.startswith(b"^[[1;1;")
    assert len(shown) > 1500
