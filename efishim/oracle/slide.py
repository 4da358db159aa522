"""Reads the virtual KASLR offset from the kernel itself, before its first instruction runs.

The decompressor has applied the relocations by then: a word of the kernel that holds an address differs from the same
word in the ELF file by the offset.
"""

from __future__ import annotations

import struct
from collections import Counter

from efishim.image.facts import KernelFacts
from efishim.machine.memory import BusError, PhysicalMemory

STEP = 0x20_0000
LIMIT = 1 << 30
"""KASLR stays within the 1 GiB of KERNEL_IMAGE_SIZE (arch/x86/include/asm/page_64_types.h)."""

SAMPLE = 8 << 20
"""Bytes of a segment that are looked at."""

ENOUGH = 16
"""So many words have to agree."""


def virtual_slide(facts: KernelFacts, elf: bytes, memory: PhysicalMemory, physical_slide: int) -> int | None:
    """The slide in bytes, None when the words in memory do not tell. `elf` is the unpacked kernel."""
    votes: Counter[int] = Counter()
    start = min((s.virtual for s in facts.segments if s.virtual >> 63), default=0)
    end = max((s.virtual + s.memory_size for s in facts.segments), default=0)
    for segment in facts.segments:
        size = min(segment.file_size, SAMPLE) & ~7
        if not segment.virtual >> 63 or segment.virtual % 8 or not size:
            continue
        try:
            now = memory.read(segment.physical + physical_slide, size)
        except BusError:
            continue
        then = elf[segment.offset : segment.offset + size]
        for (linked,), (found,) in zip(struct.iter_unpack("<Q", then), struct.iter_unpack("<Q", now), strict=False):
            if start <= linked < end and 0 <= found - linked < LIMIT and (found - linked) % STEP == 0:
                votes[found - linked] += 1
    best = votes.most_common(1)
    return best[0][0] if best and best[0][1] >= ENOUGH else None
