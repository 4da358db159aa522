"""The document of faults: each call of a boot made to fail once, and what the kernel does then.

Nothing in it comes from the host's clock: two searches with one plan give the same bytes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from efishim.canonical import canonical
from efishim.errors import UsageError
from efishim.lab.record import Count, Image, Name, Options, RouteName, Text, Tool
from efishim.reading import read_file
from efishim.surface.model import Effect, Run

SCHEMA = 1
FILE_LIMIT = 64 << 20
"""Largest document that is read, bytes."""


class Ending(StrEnum):
    """What a kernel does about a call that failed."""

    GOES_ON = "goes on"
    """It reaches the goal, and its console is as without the fault."""
    SAYS_SO = "goes on and says so"
    """It reaches the goal, and the console has lines that it has not without the fault."""
    STOPS = "stops and says so"
    """It does not reach the goal, and the console has lines about it."""
    RETURNS = "returns to the firmware"
    """It goes back with a status, be that an error or not, and says nothing: the firmware's boot manager may."""
    DIES = "dies silently"
    """It does not reach the goal, and prints nothing about it."""


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts have in common."""


class Case(_Struct, frozen=True, kw_only=True):
    """One fault."""

    fault: Name
    """As `--fail` takes it."""
    service: Name
    number: Count
    """Which call of the service, counted from 1."""
    asked: Text = ""
    """What the call names: a protocol, a variable, a kind of memory."""
    before: Name = ""
    """What it answers without the fault; empty where that is many things."""
    ending: Ending
    effect: Effect


class Faults(_Struct, frozen=True, kw_only=True):
    """What a kernel makes of every single call that fails."""

    schema: Annotated[int, msgspec.Meta(ge=1)] = SCHEMA
    tool: Tool
    image: Image
    route: RouteName
    options: Options
    run: Run
    """Without any fault."""
    insns_limit: Count
    """Instructions after which a trial was given up."""
    cases: Annotated[list[Case], msgspec.Meta(max_length=1 << 16)]
    """In the order of the calls; then memory that runs out; then hypercalls."""
    complete: bool = True
    """False when the search was interrupted: the cases are then those that were known."""
    reproduce: Text

    def ending(self, ending: Ending) -> list[Case]:
        """The cases that end so."""
        return [case for case in self.cases if case.ending is ending]


_DECODER = msgspec.json.Decoder(Faults)


def encode(faults: Faults) -> bytes:
    """The canonical bytes: keys sorted, two spaces of indentation, one newline at the end."""
    return canonical(faults)


def read(path: str) -> Faults:
    """From a file. Raises UsageError with one sentence."""
    data = read_file(path, FILE_LIMIT, "list of faults", UsageError)
    try:
        return decode(data)
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is not what `efishim surface --faults --format json` writes: {error}") from error


def decode(data: bytes) -> Faults:
    """Read one back, strictly. Raises msgspec.DecodeError."""
    return _DECODER.decode(data)
