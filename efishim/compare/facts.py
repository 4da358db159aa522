"""A record as facts, the values that a comparison works on.

An *input* is something that was given to the kernel or could be found by it: the machine, the native structure, what lies in
boot_params. *Behaviour* is what the kernel did with it: milestones, firmware calls, hardware, code, log. Counts are no facts,
they are costs (costs.py): two ways in that both read a port, one of them more often, do the same thing.

A pointer to something that has a name in the same record is written as `&name` (landmarks.py), so that the same thing at
another place gives one difference and not one for each pointer to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NoReturn, final

ABSENT = ""
"""The value of a fact that a record does not have."""


class Side(StrEnum):
    """What was given to the kernel, or what it did with it."""

    INPUTS = "told"
    BEHAVIOUR = "done"


class Stage(StrEnum):
    """Where an input was found."""

    MACHINE = "machine"
    """Before anything runs: what the platform is."""
    ENTRY = "entry"
    STARTUP_64 = "startup_64"
    START_KERNEL = "start_kernel"
    KERNEL = "kernel"
    """Where the kernel proper lies, which is known once it runs."""
    USERSPACE = "userspace"
    """What the kernel shows of it to programs."""
    RUN = "run"
    """No moment: behaviour is that of the whole run."""


PICTURES: Final = (Stage.ENTRY, Stage.STARTUP_64, Stage.START_KERNEL)
"""The stages at which a picture of processor and memory is taken, in order."""


class Kind(StrEnum):
    """What a fact says of its subject. The kinds of behaviour are the first words of their paths."""

    VALUE = "value"
    ADDRESS = "address"
    """Where it lies."""
    MAP = "map"
    """A whole memory map; its areas are compared, and not its entries."""
    RANGE = "range"
    """A piece of a memory map. The last part of `field` says which: `0x1000-0x2000`."""
    MILESTONE = "milestone"
    OUTCOME = "outcome"
    VIOLATION = "abi"
    """A requirement of the entry that was not met."""
    CALL = "call"
    """A service of firmware. `field` has the names among its arguments, and the status."""
    HARDWARE = "hardware"
    """`subject` is the group, `field` what was touched."""
    CODE = "code"
    """A function ran; as a difference, `function -> function`: the branch behind which it and others did (roots.py)."""
    LOG = "log"
    """A line of the kernel's log."""
    USERSPACE = "userspace"
    """`subject` is the section of the reporting init's report, `field` a line in it."""


OF_INPUTS: Final = frozenset({Kind.VALUE, Kind.ADDRESS, Kind.MAP, Kind.RANGE})

CPU, BOOT_PARAMS, E820, EFI, SETUP_DATA = "cpu", "boot_params", "e820", "efi", "setup_data"
"""Subjects that a picture may have; any other at the entry is a native structure or a module."""


@final
class Fact:
    """What a value is of. Facts are values themselves: equal when all parts are, and they never change.

    `subject` is a structure, a service, a function, a line; `field` the way down from it, `("hdr", "loadflags")`. `path` is
    how people see a fact: stage, subject and field with dots between them, `@` behind an address, a range in brackets.
    """

    __slots__ = ("_hash", "_parts", "field", "kind", "path", "side", "stage", "subject")

    side: Side
    stage: Stage
    subject: str
    field: tuple[str, ...]
    kind: Kind
    path: str
    _parts: tuple[Side, Stage, str, tuple[str, ...], Kind]
    _hash: int

    def __init__(self, side: Side, stage: Stage, subject: str, field: tuple[str, ...] = (), kind: Kind = Kind.VALUE) -> None:
        put, parts = object.__setattr__, (side, stage, subject, field, kind)
        put(self, "_parts", parts)
        put(self, "side", side)
        put(self, "stage", stage)
        put(self, "subject", subject)
        put(self, "field", field)
        put(self, "kind", kind)
        path = self.word if kind is Kind.OUTCOME else f"{self.word}.{self.rest}"
        put(self, "path", path)
        put(self, "_hash", hash(path))

    @property
    def word(self) -> str:
        """The first word of the path."""
        return str(self.kind) if self.stage is Stage.RUN else str(self.stage)

    @property
    def rest(self) -> str:
        """The path behind its first word."""
        if self.kind is Kind.CALL and self.field:
            names, status = self.field
            return f"{self.subject}({names}) {status}"
        if self.kind is Kind.RANGE:
            return ".".join((self.subject, *self.field[:-1])) + f"[{self.field[-1]}]"
        dotted = ".".join((self.subject, *self.field))
        return f"{dotted}@" if self.kind is Kind.ADDRESS else dotted

    @property
    def parent(self) -> str:
        """The path of what an input is a part of."""
        parts = (self.word, self.subject, *(self.field[:-1] if self.kind is Kind.RANGE else self.field))
        return ".".join(parts[:-1])

    @property
    def stageless(self) -> tuple[object, ...]:
        """The fact without the stage at which the picture was taken."""
        return (None if self.stage in PICTURES else self.stage, self.subject, self.field, self.kind)

    def within(self, stage: Stage, subject: str, *field: str) -> bool:
        """Is it the fact of this stage and subject, of this field or of one below it?"""
        return (self.stage, self.subject) == (stage, subject) and self.field[: len(field)] == field

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fact):
            return NotImplemented
        return self._parts == other._parts

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Fact({self.path!r})"

    def __str__(self) -> str:
        return self.path

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a fact does not change")

    def __reduce__(self) -> tuple[Any, ...]:
        return Fact, self._parts


by_path = attrgetter("path")
"""The order in which people see facts."""


_fact = lru_cache(maxsize=1 << 16)(Fact)
"""Records share most of their facts. One that stands for all of them is made once, and found in tables by its identity."""


def given(stage: Stage, subject: str, *field: str, kind: Kind = Kind.VALUE) -> Fact:
    """An input."""
    return _fact(Side.INPUTS, stage, subject, field, kind)


def did(kind: Kind, subject: str = "", *field: str) -> Fact:
    """A piece of behaviour."""
    return _fact(Side.BEHAVIOUR, Stage.RUN, subject, field, kind)


_STAGES = {stage.value: stage for stage in Stage if stage not in (Stage.USERSPACE, Stage.RUN)}
_WHOLE_MAPS = frozenset({("memory",), ("memory_map",), (E820,), (EFI, "memory_map")})
_RANGE = re.compile(r"(?P<map>.*)\[(?P<range>0x[0-9a-f]+-0x[0-9a-f]+)\]", re.DOTALL)
_CALL = re.compile(r"(?P<service>[^(]*)\((?P<names>.*)\) (?P<status>[^)]*)", re.DOTALL)


def read_fact(path: str) -> Fact:
    """A fact by its path, as far as a path tells: that is what documents keep. Raises ValueError."""
    word, _, rest = path.partition(".")
    if word in _STAGES:
        return _read_input(_STAGES[word], rest)
    kind = Kind(word)
    if kind in OF_INPUTS:
        raise ValueError(f"{path!r} is not the path of a fact")
    call = _CALL.fullmatch(rest) if kind is Kind.CALL else None
    if call is not None:
        return did(kind, call["service"], call["names"], call["status"])
    if kind in (Kind.HARDWARE, Kind.USERSPACE):
        subject, _, field = rest.partition(".")
        return did(kind, subject, field)
    return did(kind, rest)


def fact_at(path: str) -> Fact:
    """The fact of a path; pieces of maps that userspace is shown are among them. Raises ValueError."""
    word, _, rest = path.partition(".")
    if word == "userspace" and rest.endswith("]") and "[0x" in rest:
        name, _, piece = rest.rstrip("]").partition("[")
        return given(Stage.USERSPACE, name, piece, kind=Kind.RANGE)
    return read_fact(path)


def _read_input(stage: Stage, rest: str) -> Fact:
    found = _RANGE.fullmatch(rest)
    if found is not None:
        return given(stage, *members(found["map"]), found["range"], kind=Kind.RANGE)
    if rest.endswith("@"):
        return given(stage, *members(rest[:-1]), kind=Kind.ADDRESS)
    parts = members(rest)
    return given(stage, *parts, kind=Kind.MAP if parts in _WHOLE_MAPS else Kind.VALUE)


def members(name: str) -> tuple[str, ...]:
    """The way down to a field that a record names in one word: `hdr.loadflags`."""
    return tuple(name.split("."))


def unnumbered(name: str) -> str:
    """A name without the number of several: `e820_table[3]` is an `e820_table`."""
    return name.partition("[")[0]


def is_numbered(name: str) -> bool:
    """Is it one of several: `e820_table[3]`?"""
    return name.endswith("]")


@dataclass(frozen=True, slots=True)
class Area:
    """[start, end) of physical memory and what it is said to be. `owner` is the EFI memory type for which firmware took it."""

    start: int
    end: int
    kind: str
    owner: str = ""

    @property
    def label(self) -> str:
        """Kind and owner."""
        return f"{self.kind} ({self.owner})" if self.owner else self.kind


@dataclass(frozen=True, slots=True)
class Facts:
    """All facts of a record, and the memory maps as sorted ranges, which are compared as areas and not by index."""

    inputs: Mapping[Fact, str]
    behaviour: Mapping[Fact, str]
    maps: Mapping[Fact, tuple[Area, ...]]

    def of(self, side: Side) -> Mapping[Fact, str]:
        """The facts of one side."""
        return self.inputs if side is Side.INPUTS else self.behaviour
