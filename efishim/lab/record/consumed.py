"""Reads and writes of the boot structures, field by field, and of legacy memory."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from efishim.lab.record.run import CodeRef
from efishim.lab.record.values import Count, Hex, Name, Part

CODE_LIMIT = 8
"""Most functions that are named for one field."""


class FieldUse(Part, frozen=True, kw_only=True):
    """A field that was read or written."""

    name: Name
    """The field's full name."""
    reads: Count = 0
    """How often it was read."""
    writes: Count = 0
    """How often it was written."""
    first_insns: Count
    """Instructions executed when it was touched first."""
    first: CodeRef
    """Who touched it first."""
    functions: Annotated[list[Name], Meta(max_length=CODE_LIMIT)] = field(default_factory=list)
    """Who touched it, in the order of the first time; the first few of them."""


class WholeUse(Part, frozen=True, kw_only=True):
    """A function that read or wrote every byte without regard to the fields: a copy, a checksum, an erasure."""

    part: Name = ""
    """A member of the structure with all below it; empty for the whole of it."""
    function: Name
    """Who did it: the symbol, or the place in the image."""
    write: bool = False
    """Was it written, and not read?"""
    times: Count
    """How often, going by its rarest byte."""
    first_insns: Count
    """Instructions executed when it was done first."""
    first: CodeRef
    """The instruction that touched it first."""


class Consumption(Part, frozen=True, kw_only=True):
    """What was done to one structure. What was done to it as a whole is not repeated in its fields."""

    structure: Name
    """Its name."""
    address: Hex
    """Physical address."""
    size: Count
    """Bytes."""
    since_insns: Count
    """Instructions executed when the watch began."""
    until_insns: Count
    """Instructions executed when it ended, with the run at the latest."""
    reads: Count = 0
    """Accesses that read."""
    writes: Count = 0
    """Accesses that wrote."""
    bytes_read: Count = 0
    """How many of its bytes were read at least once, as a whole or not."""
    whole: Annotated[list[WholeUse], Meta(max_length=1 << 12)] = field(default_factory=list)
    """Who took it as a whole, in the order of the first time."""
    fields: Annotated[list[FieldUse], Meta(max_length=1 << 16)] = field(default_factory=list)
    """In the order of the structure. Empty for a range without fields."""
    never_read: Annotated[list[Name], Meta(max_length=1 << 16)] = field(default_factory=list)
    """Fields that were never read except as part of the whole, without padding; runs of array elements are one entry."""


class LegacyUse(Part, frozen=True, kw_only=True):
    """Accesses to memory that has a meaning on PCs since 1981."""

    group: Name
    """IVT, BDA, EBDA, VGA, option ROM or BIOS."""
    start: Hex
    """Physical address of the area."""
    size: Count
    """Bytes of the area."""
    reads: Count
    """Accesses that read."""
    writes: Count
    """Accesses that wrote."""
    places: Count
    """How many different addresses; in searched areas, paragraphs of 16 bytes."""
    first_insns: Count
    """Instructions executed at the first access."""
    last_insns: Count
    """The same of the last one."""
    first: CodeRef
    """Who did it first."""
    functions: Annotated[list[Name], Meta(max_length=CODE_LIMIT)]
    """Who did it, in the order of the first time; the first few of them."""


class Consumed(Part, frozen=True, kw_only=True):
    """What was read and written, as a record has it."""

    structures: Annotated[list[Consumption], Meta(max_length=1 << 12)] = field(default_factory=list)
    """Structure by structure."""
    legacy: Annotated[list[LegacyUse], Meta(max_length=64)] = field(default_factory=list)
    """Area by area, those that were touched."""
    dropped: Count = 0
    """Accesses that were not kept because there were too many different ones."""
    left_out: Count = 0
    """Structures that were not watched because there were too many."""
