"""The memory map that the BIOS reports: the platform's, minus what the BIOS reserves.

The calls that predate E820 derive their sizes from the same map.
"""

from __future__ import annotations

from collections.abc import Iterable

from efishim.errors import MachineError
from efishim.memory_range import MemoryKind, MemoryRange
from efishim.platform.definition import EBDA, MIB

KIB = 1 << 10
CONVENTIONAL_END = 0xA_0000
"""Where conventional memory ends on every PC: adapters are above."""
EBDA_SIZE = KIB
ROM_START, ROM_SIZE = 0xF_0000, 0x1_0000
LEAST_CONVENTIONAL = 64 * KIB


def ebda_address(memory: Iterable[MemoryRange]) -> int:
    """Physical address of the extended BIOS data area: where the platform reserves it, or the last KiB of conventional memory.

    Raises MachineError for a machine whose memory does not begin at 0 or is too little for real mode.
    """
    pieces = tuple(memory)
    for piece in pieces:
        if piece.content == EBDA and piece.start < CONVENTIONAL_END:
            return piece.start
    for piece in pieces:
        if piece.kind is MemoryKind.RAM and piece.start == 0 and piece.size >= LEAST_CONVENTIONAL:
            return (min(piece.end, CONVENTIONAL_END) & ~(KIB - 1)) - EBDA_SIZE
    raise MachineError("a BIOS needs RAM from address 0 on, and this platform has none there")


def carve(memory: Iterable[MemoryRange]) -> tuple[MemoryRange, ...]:
    """The map that int 15h/E820 tells: EBDA and ROM are reserved, whatever the platform said there. Ascending."""
    pieces = tuple(memory)
    own = (
        MemoryRange(ebda_address(pieces), EBDA_SIZE, MemoryKind.RESERVED, EBDA),
        MemoryRange(ROM_START, ROM_SIZE, MemoryKind.RESERVED, "BIOS"),
    )
    for hole in own:
        pieces = tuple(left for piece in pieces for left in _without(piece, hole))
    return tuple(sorted((*pieces, *own), key=lambda piece: piece.start))


def _without(piece: MemoryRange, hole: MemoryRange) -> list[MemoryRange]:
    """What remains of a range: itself, or the parts before and behind the hole."""
    if piece.end <= hole.start or hole.end <= piece.start:
        return [piece]
    ends = ((piece.start, hole.start), (hole.end, piece.end))
    return [MemoryRange(start, end - start, piece.kind, piece.content) for start, end in ends if start < end]


def ram_from(memory: Iterable[MemoryRange], start: int, limit: int) -> int:
    """Bytes of RAM from `start` up to its first interruption, at most up to `limit`."""
    end = start
    for piece in memory:
        if piece.kind is MemoryKind.RAM and piece.start <= end < piece.end:
            end = min(piece.end, limit)
    return end - start


def extended_kib(memory: Iterable[MemoryRange]) -> int:
    """Int 15h/88: KiB from 1 MiB on. Above 64 MiB machines of the time told 63 MiB, and loaders know that figure."""
    end = MIB + ram_from(memory, MIB, 4 << 30)
    return (63 * MIB if end > 64 * MIB else end - MIB) // KIB


def below_and_above_16m(memory: Iterable[MemoryRange]) -> tuple[int, int]:
    """Int 15h/E801: KiB between 1 and 16 MiB, and blocks of 64 KiB from there to the first hole."""
    pieces = tuple(memory)
    low = ram_from(pieces, MIB, 16 * MIB)
    high = ram_from(pieces, 16 * MIB, 4 << 30) if low == 15 * MIB else 0
    return low // KIB, min(high >> 16, 0xFFFF)
