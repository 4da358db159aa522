"""Pieces of a machine's state that can be taken over from another machine: memory, the processor's, values of devices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from efishim.why.objects import Path

Range = tuple[int, int]
"""Address and size."""


class Place(Enum):
    """What a piece's addresses count from."""

    MEMORY = "memory"
    """Guest-physical address 0."""
    BOOT_PARAMS = "boot_params"
    """Where the recipient has its boot_params, or where they are put."""
    PROCESSOR = "processor"
    """The beginning of the processor's state."""


@dataclass(frozen=True)
class Piece:
    """Some bytes."""

    place: Place
    start: int
    size: int


@dataclass(frozen=True)
class Value:
    """A plain value of an object (efishim.why.objects): the way to the object, and the name of its part."""

    path: Path
    part: str


@dataclass(frozen=True)
class Item:
    """One named piece of the difference. `shown` are the values on both sides, where they are short."""

    name: str
    pieces: tuple[Piece, ...] = ()
    values: tuple[Value, ...] = ()
    moves: bool = False
    """It decides where boot_params lie."""
    shown: tuple[str, str] = ("", "")

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(piece.size for piece in self.pieces)
