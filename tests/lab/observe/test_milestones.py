"""Finding a 32-bit kernel by its first instructions, which are relocated with it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.lab.observe.milestones import relocated

# mov ecx, [0x2004a00]; test [esi + 0x211], 0x40; jnz +20; lgdt [0x1c3a004]; mov eax, 0x18
STARTUP_32 = bytes.fromhex("8b0d004a0002 f6861102000040 7514 0f011504a0c301 b818000000")
ADDRESSES = (2, 18)


def moved(code: bytes, slide: int) -> bytes:
    """The code with its addresses higher."""
    result = bytearray(code)
    for at in ADDRESSES:
        struct.pack_into("<I", result, at, struct.unpack_from("<I", code, at)[0] + slide & 0xFFFF_FFFF)
    return bytes(result)


@given(st.integers(0, 0x1F_FFFF).map(lambda pages: pages * 0x2000 & 0xFFFF_FFFF))
def test_addresses_may_be_higher(slide: int) -> None:
    assert relocated(STARTUP_32, moved(STARTUP_32, slide), slide)


@pytest.mark.parametrize("at", range(len(STARTUP_32) - 3))
def test_any_other_change_is_other_code(at: int) -> None:
    there = bytearray(moved(STARTUP_32, 0xD00_0000))
    there[at] ^= 0x5A
    assert not relocated(STARTUP_32, bytes(there), 0xD00_0000)


def test_the_last_bytes_may_be_the_beginning_of_an_address() -> None:
    cut = STARTUP_32[: ADDRESSES[1] + 3]
    assert relocated(cut, moved(STARTUP_32, 0xD01_2000)[: len(cut)], 0xD01_2000)


def test_less_than_was_linked_is_not_it() -> None:
    assert not relocated(STARTUP_32, STARTUP_32[:-1], 0)
    assert not relocated(STARTUP_32, b"", 0)
