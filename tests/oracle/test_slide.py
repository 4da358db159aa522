"""The virtual slide of a kernel made of a few words."""

from __future__ import annotations

import struct

import pytest

from efishim.image.elf import Segment
from efishim.image.facts import KernelFacts
from efishim.machine.memory import PhysicalMemory
from efishim.oracle.slide import virtual_slide

BASE = 0xFFFF_FFFF_8100_0000
FILE = 0x1000
WORDS = [BASE + 8 * n for n in range(100)] + [0x1234, 0, 0xFFFF_8880_0000_0000]


def facts(virtual: int = BASE) -> KernelFacts:
    size = 8 * len(WORDS)
    return KernelFacts(
        method="none",
        unpacked_size=FILE + size,
        wide=True,
        machine=62,
        entry=0x100_0000,
        load_start=0x100_0000,
        load_end=0x100_0000 + size,
        entry_code=b"",
        segments=(Segment(FILE, virtual, 0x100_0000, size, size, 5),),
        notes=(),
        symbols={},
    )


def packed(words: list[int]) -> bytes:
    return struct.pack(f"<{len(words)}Q", *words)


def moved(by: int, *, of: int = 100) -> list[int]:
    return [word + by if n < of else word for n, word in enumerate(WORDS)]


def memory(words: list[int], at: int) -> PhysicalMemory:
    ram = PhysicalMemory()
    ram.add(0, 32 << 20)
    ram.write(at, packed(words))
    return ram


@pytest.mark.parametrize("by", [0, 0x20_0000, 0x2A60_0000])
@pytest.mark.parametrize("physical", [0, 0x40_0000])
def test_the_slide_is_what_the_words_moved_by(by: int, physical: int) -> None:
    ram = memory(moved(by), 0x100_0000 + physical)
    assert virtual_slide(facts(), bytes(FILE) + packed(WORDS), ram, physical) == by


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(moved(0x1000), id="no multiple of 2 MiB"),
        pytest.param(moved(1 << 30), id="too far"),
        pytest.param([0] * len(WORDS), id="not there"),
        pytest.param([w if n < 10 else 0 for n, w in enumerate(WORDS)], id="too few"),
    ],
)
def test_words_that_tell_nothing_give_nothing(words: list[int]) -> None:
    assert virtual_slide(facts(), bytes(FILE) + packed(WORDS), memory(words, 0x100_0000), 0) is None


def test_a_kernel_that_is_not_in_memory_gives_nothing() -> None:
    elf = bytes(FILE) + packed(WORDS)
    assert virtual_slide(facts(), elf, memory(WORDS, 0x100_0000), 1 << 30) is None
    assert virtual_slide(facts(virtual=0), elf, memory(WORDS, 0x100_0000), 0) is None
