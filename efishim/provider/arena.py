"""Guest memory for providers: bytes at physical addresses, and an allocator for data placed before the guest runs."""

from __future__ import annotations

from typing import Protocol

from efishim.errors import ProviderError
from efishim.memory_range import MemoryKind, MemoryRange

PAGE = 0x1000
LOW_MEMORY, DEVICES = 0x10_0000, 0xC000_0000
TEXT_LIMIT = 64 << 10
"""Bytes of a string in guest memory."""


class GuestMemory(Protocol):
    """Guest-physical memory. `efishim.machine.memory.PhysicalMemory` is one; so is a plain fake in a test."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a physical address; raises an exception when no memory is there."""

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes at a physical address."""


class Arena:
    """Hands out guest RAM to what is placed before the guest runs: the lowest address that fits, or the highest."""

    def __init__(self, ranges: tuple[MemoryRange, ...], *, floor: int = PAGE) -> None:
        """Nothing is placed below `floor`; what has its own address may lie there, as a boot loader lets it."""
        self._floor = floor
        self._free = sorted((piece.start, piece.end) for piece in ranges if piece.kind is MemoryKind.RAM)
        self._top = max((end for _, end in self._free if end <= DEVICES), default=0)
        self.used: list[tuple[int, int]] = []
        """(start, size) of everything that was taken, in that order."""

    def take(self, start: int, size: int) -> None:
        """Mark a range as used; parts of it that are not free RAM are ignored."""
        self.used.append((start, size))
        end, left = start + size, []
        for low, high in self._free:
            if end <= low or high <= start:
                left.append((low, high))
                continue
            left += [(a, b) for a, b in ((low, start), (end, high)) if a < b]
        self._free = left

    def fits(self, start: int, size: int) -> bool:
        """Is all of [start, start+size) free RAM?"""
        return any(low <= start and start + size <= high for low, high in self._free)

    def at(self, address: int, size: int, *, what: str = "") -> int:
        """Take a fixed address, as a VMM that has places of its own for its tables, also below the floor; gives it back.

        Raises ProviderError when not all of it is free RAM.
        """
        if not self.fits(address, max(size, 1)):
            raise ProviderError(
                f"{what or 'a structure'} of {size} bytes cannot be at {address:#x}: not all of that is free RAM",
                hint="something else lies there, or the guest has less memory: choose its amount with -m",
            )
        self.take(address, max(size, 1))
        return address

    def place(
        self, size: int, *, align: int = 16, above: int = 0, below: int = 1 << 32, high: bool = False, what: str = ""
    ) -> int:
        """An address for `size` bytes, aligned, in [above, below): the lowest, or with `high` the highest.

        Raises ProviderError when there is no room.
        """
        for low, top in reversed(self._free) if high else self._free:
            first = -(-max(low, above, self._floor) // align) * align
            start = (min(top, below) - size) // align * align if high else first
            if first <= start and start + size <= min(top, below):
                self.take(start, max(size, 1))
                return start
        raise ProviderError(
            f"there is no room for {what or 'a structure'} of {size} bytes below {below:#x}",
            hint="give the guest more memory with -m" if self._more_helps(size, align, above, below) else "",
        )

    def _more_helps(self, size: int, align: int, above: int, below: int) -> bool:
        """More memory comes behind what there is, up to where a PC has its devices."""
        low, top = max(above, LOW_MEMORY), min(below, DEVICES)
        return self._top < top and size + align <= top - low


def text_at(memory: GuestMemory, address: int) -> bytes:
    """A NUL-terminated string, empty for a null pointer. Raises ProviderError when it has no end."""
    found = bytearray()
    while address and len(found) < TEXT_LIMIT:
        byte = memory.read(address + len(found), 1)
        if byte == b"\0":
            return bytes(found)
        found += byte
    if address:
        raise ProviderError(f"the string at {address:#x} does not end within {TEXT_LIMIT} bytes")
    return b""
