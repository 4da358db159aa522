"""When what the guest prints is passed on."""

from __future__ import annotations

from efishim.lab.console import Console


def test_a_line_is_passed_on_at_its_end() -> None:
    passed: list[bytes] = []
    console = Console(passed.append)
    for byte in b"one\r\ntwo\nth":
        console(bytes([byte]))
    assert passed == [b"one\r\n", b"two\n"]
    assert bytes(console.data) == b"one\r\ntwo\nth"


def test_a_prompt_is_passed_on_when_asked() -> None:
    passed: list[bytes] = []
    console = Console(passed.append)
    console(b"grub> ")
    assert passed == []
    console.flush()
    console.flush()
    assert passed == [b"grub> "]


def test_what_is_not_kept_is_passed_on_too() -> None:
    passed: list[bytes] = []
    console = Console(passed.append, limit=4)
    console(b"123456\n")
    console(b"7")
    console.flush()
    assert (bytes(console.data), console.dropped) == (b"1234", 4)
    assert passed == [b"123456\n", b"7"]


def test_nobody_listens() -> None:
    console = Console(None)
    console(b"line\n")
    console.flush()
    assert bytes(console.data) == b"line\n"
