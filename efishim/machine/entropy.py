"""Randomness of a run: everything that looks random to the guest comes from the run's seed."""

from __future__ import annotations

import hashlib


class Entropy:
    """SHA-256 in counter mode over the seed and a purpose, so that one consumer's appetite does not change another's luck."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._key = hashlib.sha256(f"efishim {purpose} {seed}".encode()).digest()
        self._counter = 0
        self._pool = b""

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._pool) < size:
            block = hashlib.sha256(self._key + self._counter.to_bytes(8, "little")).digest()
            self._counter += 1
            self._pool += block
        out, self._pool = self._pool[:size], self._pool[size:]
        return out

    def integer(self, bits: int) -> int:
        """The next unsigned integer of that many bits (a multiple of 8)."""
        return int.from_bytes(self.take(bits // 8), "little")
