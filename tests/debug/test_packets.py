"""Framing, for both ends of the protocol."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from efishim.debug.packets import Packet, checksum, escaped, framed, take, unescaped


def test_the_example_of_the_manual() -> None:
    assert framed(b"m4015bc,2") == b"$m4015bc,2#5a"
    assert checksum(b"") == 0


@given(st.binary())
def test_binary_data_goes_through(data: bytes) -> None:
    assert unescaped(escaped(data)) == data
    buffer = bytearray(framed(escaped(data)) + b"+")
    assert take(buffer) == Packet(escaped(data), True)
    assert take(buffer) == b"+"
    assert take(buffer) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_apart(data: bytes) -> None:
    buffer = bytearray(data)
    while (item := take(buffer)) is not None:
        assert isinstance(item, Packet) or len(item) == 1
    assert not buffer or buffer[:1] == b"$"


def test_a_wrong_checksum_is_told_and_capitals_are_right() -> None:
    assert take(bytearray(b"$OK#9b")) == Packet(b"OK", False)
    assert take(bytearray(b"$OK#9A")) == Packet(b"OK", True)
