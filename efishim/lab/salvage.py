"""What is saved of a run when efishim itself, or something that was plugged into it, fails: a record of all that there is."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from efishim.errors import EfishimError
from efishim.machine.machine import Stop

FAILED = "efishim failed"
"""How a run ended that no guest should be able to end so; the outcome's details begin with it."""

CHAIN = 6
"""Most functions that are named of those that were on their way."""

LIMIT = 500
"""Most characters of what an exception says."""

T = TypeVar("T")


def described(error: Exception) -> str:
    """An exception in one sentence: what it says, and who was doing what, the last first."""
    if isinstance(error, EfishimError):
        return f"{FAILED}: {error.sentence}"
    said = " ".join(str(error).split())[:LIMIT]
    frames = traceback.extract_tb(error.__traceback__)[-CHAIN:]
    chain = " < ".join(f"{frame.filename.rpartition('/')[2].removesuffix('.py')}.{frame.name}" for frame in reversed(frames))
    return f"{FAILED}: {type(error).__name__}{f' ({said})' if said else ''} in {chain}; please report this"


class Salvage:
    """Collects the parts of a record; a part that fails is replaced, and a note says so."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def run(self, run: Callable[[], Stop]) -> Stop:
        """The run, whatever ends it."""
        try:
            return run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the record says it
            return Stop(FAILED, described(error))

    def part(self, name: str, make: Callable[[], T], instead: T) -> T:
        """A part of the record."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - whatever it is, the record says it
            self.notes.append(f"{name} is missing: {described(error)}")
            return instead
