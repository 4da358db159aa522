"""Bounded reads of guest memory; a failed read yields a sentence instead of an exception."""

from __future__ import annotations

import hashlib
from typing import TypeVar

from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.layout import Layout

CHUNK = 1 << 20

L = TypeVar("L", bound=Layout)


class Unreadable(Exception):
    """A structure cannot be decoded; the text says why, in the words of the view that will carry it."""


def read(memory: PhysicalMemory, address: int, size: int, what: str) -> bytes:
    """Exactly `size` bytes at a physical address. Raises Unreadable, naming `what`."""
    if address == 0:
        raise Unreadable(f"the pointer to {what} is null")
    try:
        return memory.read(address, size)
    except BusError:
        raise Unreadable(f"{what}: {address:#x}+{size:#x} is not memory") from None


def read_layout(memory: PhysicalMemory, address: int, layout: type[L], what: str) -> L:
    """A structure at a physical address (a copy of it). Raises Unreadable."""
    return layout.parse(read(memory, address, layout.SIZE, what))


def sha256(memory: PhysicalMemory, address: int, size: int) -> str:
    """Hash of a physical range, in pieces, so that a big ramdisk is not copied. Raises Unreadable."""
    digest = hashlib.sha256()
    region = memory.find(address, max(size, 1))
    if region is None:
        raise Unreadable(f"{address:#x}+{size:#x} is not memory")
    for at in range(address, address + size, CHUNK):
        digest.update(memory.read(at, min(CHUNK, address + size - at)))
    return digest.hexdigest()
