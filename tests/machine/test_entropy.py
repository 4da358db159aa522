"""Randomness that comes from the seed only."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from efishim.machine.entropy import Entropy


def test_it_is_sha256_in_counter_mode() -> None:
    key = hashlib.sha256(b"efishim cpu 7").digest()
    blocks = [hashlib.sha256(key + number.to_bytes(8, "little")).digest() for number in range(3)]
    assert Entropy.of(7, "cpu").take(80) == b"".join(blocks)[:80]


@given(st.integers(0, 1 << 64), st.lists(st.integers(0, 70), max_size=10))
def test_pieces_join_to_the_whole(seed: int, sizes: list[int]) -> None:
    source = Entropy.of(seed, "x")
    assert b"".join(source.take(size) for size in sizes) == Entropy.of(seed, "x").take(sum(sizes))


def test_seeds_and_purposes_differ() -> None:
    streams = {Entropy.of(seed, purpose).take(16) for seed in range(20) for purpose in ("cpu", "rng", "kaslr")}
    assert len(streams) == 60


def test_integers_take_their_bytes() -> None:
    raw = Entropy.of(1, "n").take(10)
    source = Entropy.of(1, "n")
    assert source.integer(16) == int.from_bytes(raw[:2], "little")
    assert source.integer(64) == int.from_bytes(raw[2:], "little")
