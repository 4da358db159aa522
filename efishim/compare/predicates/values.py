"""A value of a structure's field, and laws for single values: closed sets, ranges, pointers, counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from efishim.compare.evidence import Seen
from efishim.compare.facts import Fact, Stage, unnumbered
from efishim.compare.predicates import memory
from efishim.compare.predicates.pointers import LOWEST, number
from efishim.lab.record import Fields

KIB = 1024
SECTOR, PARAGRAPH = 512, 16


@dataclass(frozen=True, slots=True)
class Value:
    """A value with everything that it may be held against."""

    fact: Fact
    text: str
    seen: Seen

    @property
    def number(self) -> int:
        """As a number; -1 for a text."""
        found = number(self.text)
        return -1 if found is None else found

    @property
    def told(self) -> Mapping[Fact, str]:
        """The inputs of the same run."""
        return self.seen.facts.inputs

    @property
    def entry(self) -> str:
        """The run's way in."""
        return self.seen.record.route.entry


Law = Callable[[Value], bool]


def one_of(*numbers: int) -> Law:
    """A closed set."""
    return lambda value: value.number in numbers


def text_of(*texts: str) -> Law:
    """The same of texts and names."""
    return lambda value: value.text in texts


def between(low: int, high: int) -> Law:
    """A range of numbers, both ends included."""
    return lambda value: low <= value.number <= high


def named(name: str) -> Law:
    """A pointer to what has this name, or to nothing of it."""
    return lambda value: value.text == f"&{name}"


def anything(_value: Value) -> bool:
    """What the specification leaves to the loader."""
    return True


def nothing(value: Value) -> bool:
    """A reserved field, or one that no producer fills in."""
    return value.text in ("", "0x0")


def in_memory(value: Value) -> bool:
    """An address in memory that the run was told of."""
    areas = memory.known(value.seen)
    return value.text.startswith("&") or (value.number >= LOWEST and memory.inside(value.number, value.number + 1, areas))


def null_or(law: Law) -> Law:
    """An address, or none."""
    return lambda value: value.number == 0 or law(value)


def counted(structure: str) -> Law:
    """As many as there are of a structure."""
    return lambda value: value.number == count(value.seen, structure)


def count(seen: Seen, structure: str) -> int:
    view = seen.record.entry_view
    return 0 if view is None else sum(unnumbered(one.name) == structure for one in view.structures)


def header(value: Value, name: str) -> int:
    """A field of the setup header, at the same stage."""
    record = value.seen.record
    if value.fact.stage is Stage.ENTRY:
        structures = record.entry_view.structures if record.entry_view is not None else []
        fields = next((one.fields for one in structures if one.name == value.fact.subject), Fields())
    else:
        fields = record.boot_view.boot_params if record.boot_view is not None else Fields()
    return fields.number(name if value.fact.subject == "setup_header" else f"hdr.{name}")


def mapped_acpi(value: Value) -> bool:
    """An RSDP lies in memory, and in none that is free."""
    view = value.seen.record.boot_view
    table = view.efi.system_table if view is not None and view.efi is not None else None
    if table is not None and any(int(one.address) == value.number for one in table.configuration_tables):
        return True  # a loader's copy, which EFI names
    areas = [one for one in memory.known(value.seen) if one.kind not in memory.FREE and one.kind not in memory.RAM_KINDS]
    return memory.inside(value.number, value.number + 36, areas)
