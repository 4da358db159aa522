"""Finds pointers in a kernel's data: one pass picks the words that may be addresses, and searches look at no others."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import compress

_TYPES = {4: "I", 8: "Q"}


class PointerWords:
    """The whole words of `data`, of 4 or 8 bytes, little-endian. `start` and `end` bound the addresses that are asked for most:
    words with the bytes that all of these begin with are kept apart.
    """

    def __init__(self, data: bytes, word: int, start: int, end: int) -> None:
        self._data, self._word = data, word
        low, high = (value.to_bytes(word, "big") for value in (start, max(start, end - 1)))
        self._shared = next((at for at in range(word) if low[at] != high[at]), word)
        self._head = low[: self._shared]
        self._likely: bytes = data
        self._places: array[int] | None = None
        if self._shared:
            self._likely, self._places = self._pick()

    def _pick(self) -> tuple[bytes, array[int]]:
        """Words with the shared bytes, and which of all words they are."""
        word, count = self._word, len(self._data) // self._word
        whole = self._data[: count * word]
        wanted = -1
        for at, byte in enumerate(self._head):
            table = bytes(value == byte for value in range(256))
            wanted &= int.from_bytes(whole[word - 1 - at :: word].translate(table), "little")
        chosen = wanted.to_bytes(count, "little")
        words = array(_TYPES[word], whole)
        likely = array(_TYPES[word], compress(words, chosen))
        return likely.tobytes(), array("Q", compress(range(count), chosen))

    def find(self, address: int) -> Iterator[int]:
        """Offsets in the data of the words with this value, in ascending order."""
        pattern = address.to_bytes(self._word, "little")
        places = self._places if pattern[::-1].startswith(self._head) else None
        data = self._data if places is None else self._likely
        at = data.find(pattern)
        while at >= 0:
            number, rest = divmod(at, self._word)
            if not rest:
                yield (number if places is None else places[number]) * self._word
            at = data.find(pattern, at + 1)


__all__ = ["PointerWords"]
