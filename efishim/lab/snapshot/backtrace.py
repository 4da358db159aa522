"""Return addresses on a stack, found without frame pointers: words that point behind a call instruction."""

from __future__ import annotations

from collections.abc import Callable

INDIRECT = (2, 3, 4, 6, 7)
"""Lengths of CALL r/m (FF /2) without prefixes (SDM volume 2, CALL)."""
REX_FREE = 7
"""As many bytes in front of a return address are looked at."""

Read = Callable[[int, int], bytes]


def follows_a_call(read: Read, address: int) -> bool:
    """Do the bytes in front of an address end with a call?"""
    before = read(address - REX_FREE, REX_FREE)
    if len(before) < REX_FREE:
        return False
    if before[-5] == 0xE8:
        return True
    return any(before[-length] == 0xFF and before[-length + 1] >> 3 & 7 == 2 for length in INDIRECT)


def return_addresses(stack: bytes, width: int, is_code: Callable[[int], bool], read: Read, most: int) -> list[int]:
    """Of the words of a stack, its top first, those that point into code, behind a call."""
    found: list[int] = []
    for at in range(0, len(stack) - width + 1, width):
        word = int.from_bytes(stack[at : at + width], "little")
        if is_code(word) and follows_a_call(read, word):
            found.append(word)
            if len(found) >= most:
                break
    return found
