"""Ranges of physical memory, the one class that all packages use."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class MemoryKind(Enum):
    """What a range of physical memory is. The values are ACPI's address range types (ACPI 6.5 table 15.4)."""

    RAM = 1
    RESERVED = 2
    ACPI_RECLAIMABLE = 3
    ACPI_NVS = 4
    UNUSABLE = 5
    DISABLED = 6
    PERSISTENT = 7


@dataclass(frozen=True, slots=True)
class MemoryRange:
    """Physical memory from `start`, `size` bytes; `content` says what lies there if the platform put it there."""

    start: int
    size: int
    kind: MemoryKind
    content: str = field(default="", compare=False)

    @property
    def end(self) -> int:
        """First address after the range."""
        return self.start + self.size
