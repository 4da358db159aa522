"""The surface document: every item of the firmware with its mark, and the effect of removing it.

Nothing in it comes from the host's clock: two searches with one plan give the same bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from efishim.canonical import canonical
from efishim.firmware.profile import Item
from efishim.lab.record import Count, Image, Name, Options, RouteName, Text, Tool

SCHEMA = 1
LINE_LIMIT = 200
"""Most characters that are kept of a console line."""


class Mark(StrEnum):
    """What an item is to a kernel."""

    NEEDED = "needed"
    """Without it the kernel does not reach the goal."""
    USED = "used"
    """Asked for and answered, but the kernel gets along without."""
    PROBED = "probed"
    """Asked for, and not there anyway."""
    UNTOUCHED = "never touched"


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts have in common."""


class Effect(_Struct, frozen=True, kw_only=True):
    """What happens when one item, and nothing else, gives another answer."""

    answer: Name
    """`absent`, or the status that it gives instead of doing anything."""
    boots: bool
    reached: Name
    """The last milestone."""
    reason: Name
    """Why the run ended."""
    details: Text = ""
    at: Name = ""
    """Where it ended: symbol or address; empty for a kernel that boots."""
    says: Annotated[list[Text], msgspec.Meta(max_length=8)] = []
    """The first console lines that the whole firmware's run does not have."""
    silent: Annotated[list[Text], msgspec.Meta(max_length=8)] = []
    """The first console lines that are missing."""
    no_longer_calls: Annotated[list[Name], msgspec.Meta(max_length=256)] = []
    """Services that are called with the whole firmware, and now not."""
    newly_calls: Annotated[list[Name], msgspec.Meta(max_length=256)] = []
    sentence: Text
    """The same in words."""
    command: Text
    """What shows it again."""


class Finding(_Struct, frozen=True, kw_only=True):
    """One item."""

    item: Item
    mark: Mark
    minimum: Name
    """The weakest answer with which the set that suffices still suffices: `present`, a status, or `absent`."""
    calls: Count = 0
    """How often it was called, looked up or read in the run with the whole firmware."""
    statuses: Annotated[list[Name], msgspec.Meta(max_length=64)] = []
    """What it answered then, in the order of the first time."""
    together: bool = False
    """The kernel gets along without this one alone, but not without it and others that are not in the set."""
    effects: Annotated[list[Effect], msgspec.Meta(max_length=16)] = []

    @property
    def refusal(self) -> bool:
        """It must be there, but may refuse."""
        return self.mark is Mark.NEEDED and self.minimum != "present"

    @property
    def conditional(self) -> bool:
        """Taken away alone it stops the boot, but it goes with what leads to it: a protocol's function with the protocol."""
        return self.mark is Mark.USED and any(one.answer == "absent" and not one.boots for one in self.effects)


class Run(_Struct, frozen=True, kw_only=True):
    """The run with everything that the firmware offers."""

    insns: Count
    calls: Count
    command: Text


class Proof(_Struct, frozen=True, kw_only=True):
    """What was verified by runs at the end."""

    sufficient: bool = False
    """The minimal profile alone leads to the goal."""
    minimal: bool = False
    """Nothing more can be taken from it: each further removal, one at a time, was run and stopped the boot."""
    removals: Count = 0
    """How many of those there were."""
    trials: Count = 0
    """Runs in all."""


class Surface(_Struct, frozen=True, kw_only=True):
    """The smallest set of items with which a kernel still reaches its goal, userspace as a rule, and what the others are to it.

    The set is 1-minimal, not the smallest of all possible ones: where two items can stand in for each other, one is kept.
    """

    schema: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA
    tool: Tool
    image: Image
    route: RouteName
    options: Options
    base: Name
    """Name of the profile that was weakened; empty for this firmware as it is."""
    run: Run
    insns_limit: Count
    """Instructions after which a trial was given up."""
    findings: Annotated[list[Finding], msgspec.Meta(max_length=4096)]
    """By mark, then kind, in the order of the specification's tables."""
    proof: Proof
    complete: bool = True
    """False when the search was interrupted: marks are then what was known."""
    profile: Text
    """The minimal profile as TOML, for `efishim run --profile`."""
    reproduce: Text

    def marked(self, mark: Mark) -> list[Finding]:
        """The findings with a mark."""
        return [one for one in self.findings if one.mark is mark]


_DECODER = msgspec.json.Decoder(Surface)


def encode(surface: Surface) -> bytes:
    """The canonical bytes: keys sorted, two spaces of indentation, one newline at the end."""
    return canonical(surface)


def decode(data: bytes) -> Surface:
    """Read one back, strictly. Raises msgspec.DecodeError."""
    return _DECODER.decode(data)
