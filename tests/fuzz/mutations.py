"""Changes to inputs, chosen by a seeded generator: the same seed and number give the same input everywhere."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

INTERESTING = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0xFFFFF000,
    (1 << 63) - 1,
    (1 << 64) - 1,
)
WORDS = (
    b"\0",
    b"-1",
    b"99999999999999999999",
    b"0x",
    b'"',
    b"[",
    b"{",
    b"}",
    b"]",
    b"=",
    b"\n",
    b"\\u0000",
    b"\xff\xfe",
    b"true",
    b"null",
)
HEAD = 1024
"""Headers lie at the front: half of all changes fall there."""
MOST = 1 << 20
"""An input does not grow beyond this, bytes."""


def mutated(seeds: Sequence[bytes], seed: int, number: int) -> bytes:
    """One of the seeds with one to six changes."""
    random = Random(f"{seed}/{number}")
    data = bytearray(random.choice(seeds))
    for _ in range(random.randint(1, 6)):
        _change(data, seeds, random)
    if random.randrange(8) == 0:
        del data[random.randrange(len(data) + 1) :]
    return bytes(data[:MOST])


def _change(data: bytearray, seeds: Sequence[bytes], random: Random) -> None:
    at = random.randrange(max(min(len(data), HEAD), 1) if random.randrange(2) else len(data) + 1)
    size = random.randint(1, 64)
    match random.randrange(9):
        case 0:
            data[at : at + 1] = bytes((random.randrange(256),))
        case 1:
            if at < len(data):
                data[at] ^= 1 << random.randrange(8)
        case 2 | 3:
            form = random.choice(("B", "H", "I", "Q"))
            value = random.choice((*INTERESTING, len(data), at)) & (1 << 8 * struct.calcsize(form)) - 1
            aligned = at - at % struct.calcsize(form)
            data[aligned : aligned + struct.calcsize(form)] = struct.pack(f"<{form}", value)
        case 4:
            del data[at : at + size]
        case 5:
            data[at:at] = data[at : at + size] * random.choice((1, 1, 2, 50))
        case 6:
            data[at:at] = random.choice(WORDS)
        case 7:
            other = random.choice(seeds)
            start = random.randrange(len(other) + 1)
            data[at : at + size] = other[start : start + size]
        case _:
            data[at : at + size] = random.randbytes(size)
