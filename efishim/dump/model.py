"""What a dump is, whatever its form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from efishim.dump.cpu import DumpCpu
from efishim.dump.memory import DumpMemory, Range


@dataclass(frozen=True)
class Dump:
    """Memory and registers at one moment."""

    path: str
    """As the user named it."""
    form: str
    """`ELF core of QEMU`, `memory ranges`; with `, gzip` or `, zstd` when it is packed."""
    registers: Mapping[str, int] = field(repr=False)
    """By the names of `machine.cpu.Cpu`, with `cs.base`, `cs.limit` and `cs.flags` for each segment register."""
    ranges: tuple[Range, ...] = field(repr=False)
    """By address; they do not overlap."""
    derived: tuple[str, ...] = ()
    """What the dump does not have and where its value comes from, one sentence each, without full stop."""
    files: tuple[str, ...] = ()
    """The paths of the files that it is made of, the one that the user named first."""
    entry: str = ""
    """The entry at which it was taken, where it says so."""

    @cached_property
    def memory(self) -> DumpMemory:
        """Its memory."""
        return DumpMemory(self.ranges)

    @cached_property
    def cpu(self) -> DumpCpu:
        """Its processor."""
        return DumpCpu(self.registers, self.memory)
