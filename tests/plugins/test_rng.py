"""EFI_RNG_PROTOCOL (UEFI 2.10, 37.5)."""

from __future__ import annotations

import hashlib

import pytest

from tests.firmware.lab import INVALID, SUCCESS, TOO_SMALL, UNSUPPORTED, WILD, Lab

RNG = "3152bca5-eade-433d-862e-c01cdc291f44"
RAW = "e43176d7-b6e8-4827-b784-7ffdc4b68561"


@pytest.fixture
def lab() -> Lab:
    return Lab()


def numbers(lab: Lab, size: int, algorithm: int = 0) -> bytes:
    buffer = lab.put(bytes(size))
    assert lab.method(lab.interface(RNG), 1, algorithm, size, buffer) == SUCCESS
    return lab.memory.read(buffer, size)


def test_the_seed_decides(lab: Lab) -> None:
    assert numbers(Lab(seed=1), 40) == numbers(Lab(seed=1), 40)
    assert numbers(Lab(seed=1), 40) != numbers(Lab(seed=2), 40)
    assert numbers(lab, 16) != numbers(lab, 16), "it goes on"


def test_the_numbers_look_random(lab: Lab) -> None:
    data = numbers(lab, 1 << 16)
    counts = [data.count(bytes([value])) for value in range(256)]
    assert min(counts) > 150
    assert max(counts) < 370, "each byte about 256 times"


def test_the_numbers_of_a_seed_stay_what_they_are() -> None:
    """SHA-256 in counter mode, every request from the start of a block: records of any version agree."""

    def blocks(first: int, count: int) -> bytes:
        key = b"efishim EFI_RNG_PROTOCOL 7"
        return b"".join(hashlib.sha256(key + n.to_bytes(8, "little")).digest() for n in range(first, first + count))

    lab = Lab(seed=7)
    assert numbers(lab, 40) == blocks(0, 2)[:40]
    assert numbers(lab, 5) == blocks(2, 1)[:5]
    assert numbers(lab, 32) == blocks(3, 1)


def test_algorithms(lab: Lab) -> None:
    this = lab.interface(RNG)
    size, listed = lab.cell(0), lab.put(bytes(16))
    assert lab.method(this, 0, size, listed) == TOO_SMALL
    assert lab.method(this, 0, size, 0) == INVALID
    assert lab.method(this, 0, size, listed) == SUCCESS
    assert lab.memory.read(listed, 16) == lab.memory.read(lab.guid(RAW), 16)
    numbers(lab, 8, lab.guid(RAW))
    assert lab.method(this, 1, lab.guid(RNG), 8, listed) == UNSUPPORTED


def test_a_buffer_that_is_not_there_takes_no_numbers(lab: Lab) -> None:
    this = lab.interface(RNG)
    assert lab.method(this, 1, 0, 8, WILD) == INVALID
    assert lab.method(this, 1, 0, 0, lab.cell()) == INVALID
    assert lab.method(this, 1, 0, 1 << 40, lab.cell()) == UNSUPPORTED
    assert numbers(lab, 8) == numbers(Lab(seed=7), 8)
