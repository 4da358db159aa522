"""Checks that the image is still in memory as it was put there: nothing that was placed later lies on top of it."""

from __future__ import annotations

from efishim.lab.abi.ranges import named, overlaps
from efishim.machine.memory import BusError
from efishim.provider.checking import Findings, Moment, Requirement

CHUNK = 1 << 20
"""Bytes that are compared at a time."""


INTACT = Requirement(
    "image/intact",
    "The image is in memory as it was loaded: nothing lies on top of it",
    'Documentation/arch/x86/boot.rst, "Loading The Rest of The Kernel"; System V ABI, "Program Loading"; '
    "Multiboot 0.6.96, section 3.1.3",
)


def check(moment: Moment, findings: Findings) -> None:
    """Every piece of the image, and the zeroes behind its bytes. Setup code is left out: its header is there to be filled.
    If pieces of an image overlap, what should be there is undefined.
    """
    if next(overlaps((piece.address, piece.address + piece.size) for piece in moment.pieces), None) is not None:
        return
    for piece in moment.pieces:
        if piece.address == moment.loaded.setup:
            continue
        data = memoryview(piece.data)
        for at in range(0, piece.size, CHUNK):
            size = min(CHUNK, piece.size - at)
            expected = bytes(data[at : at + size]).ljust(size, b"\0")
            try:
                there = moment.memory.read(piece.address + at, size)
            except BusError as error:
                findings.demand(INTACT, False, str(error))
                break
            if there == expected:
                continue
            first = next(index for index in range(size) if there[index] != expected[index])
            address = piece.address + at + first
            words = f"at {address:#x} there is {there[first]:#04x} where the image has {expected[first]:#04x}"
            part = named((piece.address, piece.address + piece.size))
            findings.demand(INTACT, False, f"{words}, in the part loaded at {part}")
            break
