"""Int 16h and its buffer."""

from __future__ import annotations

import struct

import pytest

from efishim.bios.keyboard import PATIENCE, key_word
from tests.bios.guest import call, start


@pytest.mark.parametrize(
    ("character", "word"),
    # IBM PS/2 and PC BIOS Interface Technical Reference, int 16h: scan code and ASCII.
    [
        ("a", 0x1E61),
        ("A", 0x1E41),
        ("1", 0x0231),
        ("\n", 0x1C0D),
        ("\x1b", 0x011B),
        (" ", 0x3920),
        ("z", 0x2C7A),
        ("/", 0x352F),
    ],
)
def test_words(character: str, word: int) -> None:
    assert key_word(character) == word


def test_nobody_types() -> None:
    guest = start()
    poll, extended, flags, rate, flags2 = guest.ask(*(call(0x16, eax=eax) for eax in (0x0100, 0x1100, 0x0200, 0x0305, 0x1200)))
    assert poll.zero
    assert extended.zero
    assert (poll["ax"], flags["ax"], rate["ax"], flags2["ax"]) == (0x0100, 0x0200, 0x0305, 0)


@pytest.mark.parametrize("function", [0x00, 0x10])
def test_waiting_for_a_key_that_nobody_types_ends_the_run(function: int) -> None:
    stop = start().run(b"\xb4" + bytes((function,)) + b"\xcd\x16\xf4")
    assert stop.reason == "halted"
    assert stop.detail == ""  # not by HLT


@pytest.mark.slow
def test_polling_takes_time_and_ends() -> None:
    guest = start()
    before = guest.machine.now()
    stop = guest.run(b"\xb4\x01\xcd\x16\x74\xfa\xf4", max_insns=PATIENCE * 10)  # poll while ZF
    assert stop.reason == "halted"
    assert 99e9 < guest.machine.now() - before < 102e9
    assert [call.repeats for call in guest.bios.calls] == [PATIENCE + 1]


def test_typed_keys_come_in_order() -> None:
    guest = start(keys="ab\n")
    peek, first, second, third, none = guest.ask(*(call(0x16, eax=eax) for eax in (0x0100, 0x0000, 0x1000, 0x0000, 0x0100)))
    assert not peek.zero
    assert [key["ax"] for key in (peek, first, second, third)] == [0x1E61, 0x1E61, 0x3062, 0x1C0D]
    assert none.zero


def test_more_keys_than_the_buffer_holds() -> None:
    text = "abcdefghijklmnopqrstuvwxyz"
    keys = start(keys=text).ask(*(call(0x16) for _ in text))
    assert "".join(chr(key["al"]) for key in keys) == text


def test_a_program_puts_keys() -> None:
    guest = start()
    *put, key = guest.ask(*(call(0x16, eax=0x0500, ecx=0x1E61) for _ in range(16)), call(0x16))
    assert [after["al"] for after in put] == [0] * 15 + [1]  # 16 words, one always free
    assert key["ax"] == 0x1E61


@pytest.mark.parametrize(("head", "tail"), [(0, 0xFFFF), (0x1F, 0x1E), (0x3E, 0x20), (0xFFFE, 0xFFFE)])
def test_a_broken_buffer_is_begun_anew(head: int, tail: int) -> None:
    guest = start(keys="k")
    guest.machine.memory.write(0x41A, struct.pack("<HH", head, tail))
    assert guest.one(0x16)["al"] == ord("k")


def test_unknown_function() -> None:
    guest = start()
    assert guest.one(0x16, eax=0x0B00)["eax"] == 0x0B00
    assert guest.bios.notes() == ["the BIOS has no int 16h/0B"]
