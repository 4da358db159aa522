"""What an ABI checker is made of: rules, what was found against them, and the moment that is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efishim.image.loading import Piece
    from efishim.lab.record import ProcessorState
    from efishim.machine.memory import PhysicalMemory
    from efishim.provider.handover import Loaded

MAX_PAGES = 1 << 20
"""Most translations that are walked for one range: 4 GiB of small pages."""


MAX_VIOLATIONS = 256
"""As many are kept: more of them say no more."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand of a specification."""

    id: str
    """`linux64/mode`: entry or structure, and a word."""
    demand: str
    """What has to hold, as a sentence without its full stop."""
    reference: str
    """Document and section."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold at an entry."""

    rule: str
    """Id of the rule."""
    demand: str
    """What the specification demands."""
    found: str
    """What is there instead, a clause."""
    reference: str
    """Document and section."""

    @property
    def sentence(self) -> str:
        """Both in one."""
        return f"{self.demand}; {self.found}."


@dataclass(frozen=True, slots=True)
class Moment:
    """An entry, before the image's first instruction: what is there, and nothing that made it."""

    cpu: ProcessorState
    """Registers, segments with their hidden parts, descriptor tables, control registers, as a record has them."""
    memory: PhysicalMemory
    """Guest memory by physical address; what does not lie in RAM raises BusError."""
    loaded: Loaded
    """Where the image lies: `base` of its protected-mode code for Linux's own entries."""
    floating: Mapping[str, int] = field(default_factory=dict)
    """fcw and mxcsr, if they were read."""
    pieces: tuple[Piece, ...] = ()
    """What was loaded, where no firmware did it."""

    def register(self, name: str) -> int:
        """A general register, by its 64-bit name; its lower half outside long mode."""
        value = self.cpu.registers.named(name)
        return value if self.cpu.mode.startswith("long") else value & 0xFFFF_FFFF

    def not_identity_mapped(self, start: int, size: int, *, write: bool = False) -> int | None:
        """The first address of [start, start+size) that does not lead to itself, None when all do."""
        from efishim.machine.paging import Walker  # noqa: PLC0415 - what plugins import must not import the machine

        control = self.cpu.control
        walker, at = Walker(self.memory), start
        for _ in range(MAX_PAGES):
            if at >= start + size:
                return None
            found = walker.lookup(at, cr0=control.cr0, cr3=control.cr3, cr4=control.cr4, efer=control.efer)
            if found is None or found.physical != at or (write and not found.writable):
                return at
            at = (at | found.page_size - 1) + 1
        return at


@dataclass(slots=True)
class Findings:
    """Collects violations, in the order in which they are found; the first MAX_VIOLATIONS of them."""

    violations: list[Violation] = field(default_factory=list)

    def demand(self, rule: Requirement, holds: bool, found: str) -> bool:
        """Note a violation unless the rule holds; `found` is a clause. Gives `holds`."""
        if not holds and len(self.violations) < MAX_VIOLATIONS:
            self.violations.append(Violation(rule.id, rule.demand, found, rule.reference))
        return holds

    def add(self, more: Iterable[Violation]) -> None:
        """Violations that another checker found."""
        self.violations += list(more)[: MAX_VIOLATIONS - len(self.violations)]
