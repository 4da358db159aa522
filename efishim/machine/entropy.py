"""Derives everything that looks random to the guest from the run's seed."""

from __future__ import annotations

import hashlib


class Entropy:
    """SHA-256 in counter mode over a key: the same on every machine and version. Every consumer has a key of its own, so
    that one's appetite does not change another's luck.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._counter = 0
        self._pool = b""

    @classmethod
    def of(cls, seed: int, purpose: str) -> Entropy:
        """What a run with this seed has for a purpose."""
        return cls(hashlib.sha256(f"efishim {purpose} {seed}".encode()).digest())

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        while len(self._pool) < size:
            block = hashlib.sha256(self._key + self._counter.to_bytes(8, "little")).digest()
            self._counter += 1
            self._pool += block
        out, self._pool = self._pool[:size], self._pool[size:]
        return out

    def fresh(self, size: int) -> bytes:
        """The next `size` bytes from the start of a block: what the last request left of its own is thrown away."""
        self._pool = b""
        return self.take(size)

    def integer(self, bits: int) -> int:
        """The next unsigned integer of that many bits (a multiple of 8)."""
        return int.from_bytes(self.take(bits // 8), "little")
