"""Pointers are found by whole words, whether or not they have the bytes that most addresses begin with."""

from __future__ import annotations

import random
import struct

import pytest

from efishim.image.pointer_words import PointerWords

START, END = 0xFFFFFFFF81000000, 0xFFFFFFFF83000000


def found(data: bytes, word: int, address: int) -> list[int]:
    """By looking at each word."""
    whole = range(0, len(data) // word * word, word)
    return [at for at in whole if data[at : at + word] == address.to_bytes(word, "little")]


@pytest.mark.parametrize(("word", "start", "end"), [(8, START, END), (8, 0, 1 << 64), (4, 0xC0000000, 0xC2000000), (4, 0, 0)])
def test_finds_what_a_look_at_each_word_finds(word: int, start: int, end: int) -> None:
    chance = random.Random(word)
    values = [start & (1 << 8 * word) - 1, max(end - 1, 0), 0, (1 << 8 * word) - 1, 0x81818181]
    for length in (0, 1, word - 1, word, 40 * word, 40 * word + 3):
        data = b"".join(chance.choice(values).to_bytes(word, "little") for _ in range(length // word + 1))[:length]
        words = PointerWords(data, word, start, end)
        for value in values:
            assert list(words.find(value)) == found(data, word, value), (length, value)


def test_a_pointer_across_two_words_is_none() -> None:
    pointer = struct.pack("<Q", START + 0x1234)
    for gap in range(1, 8):
        data = bytes(gap) + pointer + bytes(8 - gap)
        assert list(PointerWords(data, 8, START, END).find(START + 0x1234)) == []
    assert list(PointerWords(bytes(8) + pointer, 8, START, END).find(START + 0x1234)) == [8]


def test_bytes_of_two_neighbours_that_look_like_a_pointer_are_none() -> None:
    """Kept words lie side by side without what was between them."""
    low, high = struct.unpack("<II", struct.pack("<Q", START))
    data = struct.pack("<QQQ", low << 32 | 0xFFFFFFFF, 0, 0xFFFFFFFF00000000 | high)
    assert list(PointerWords(data, 8, START, END).find(START)) == []
