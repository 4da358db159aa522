"""The pool allocator (UEFI 2.10, 7.2.4 and 7.2.5): pieces of pages, one kind of page for each memory type and size.

What the allocator knows about a piece it keeps on its own side, so an image that writes past its buffer cannot
confuse it. Addresses end in 0x18 modulo the size of the piece, as in EDK II: aligned to 8, as the specification
promises, and to nothing more.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.firmware.calling.status import Status, demand
from efishim.firmware.memory.memory_map import AllocateType, MemoryMap
from efishim.machine.memory import PAGE

HEADER = 0x18
SMALLEST = 0x80
LARGEST = 0x800
LIVE_LIMIT = 1 << 20
"""Most pieces alive at once; more is EFI_OUT_OF_RESOURCES, so that a runaway image does not eat the host's memory."""


@dataclass(frozen=True, slots=True)
class _Piece:
    memory_type: int
    size: int  # of the piece in bytes, with header; from one page on, whole pages


class Pool:
    """AllocatePool and FreePool over a memory map."""

    def __init__(self, memory_map: MemoryMap) -> None:
        self._map = memory_map
        self._live: dict[int, _Piece] = {}
        self._free: dict[_Piece, list[int]] = {}
        self._used_in_page: dict[int, int] = {}

    def allocate(self, memory_type: int, size: int) -> int:
        """Address of `size` bytes. Raises EfiError: INVALID_PARAMETER for a type, OUT_OF_RESOURCES."""
        demand(len(self._live) < LIVE_LIMIT and size < 1 << 62, Status.OUT_OF_RESOURCES)
        need = size + HEADER
        if need > LARGEST:
            pages = -(-need // PAGE)
            base = self._map.allocate(AllocateType.ANY_PAGES, memory_type, pages)
            self._live[base + HEADER] = _Piece(memory_type, pages * PAGE)
            return base + HEADER
        kind = _Piece(memory_type, max(SMALLEST, 1 << (need - 1).bit_length()))
        free = self._free.setdefault(kind, [])
        if not free:
            page = self._map.allocate(AllocateType.ANY_PAGES, memory_type, 1)
            self._used_in_page[page] = 0
            free += range(page + PAGE - kind.size, page - 1, -kind.size)
        base = free.pop()
        self._used_in_page[base & -PAGE] += 1
        self._live[base + HEADER] = kind
        return base + HEADER

    def free(self, address: int) -> None:
        """Give a piece back. Raises EfiError(INVALID_PARAMETER) for what is not the address of a live piece."""
        piece = self._live.pop(address, None)
        if piece is None:
            demand(False)
            return
        base = address - HEADER
        if piece.size >= PAGE:
            self._map.free(base, piece.size // PAGE)
            return
        page = base & -PAGE
        free = self._free[piece]
        free.append(base)
        self._used_in_page[page] -= 1
        if self._used_in_page[page] == 0:
            del self._used_in_page[page]
            free[:] = [other for other in free if other & -PAGE != page]
            self._map.free(page, 1)

    def holds(self, address: int) -> bool:
        """Is this the address of a live piece?"""
        return address in self._live
