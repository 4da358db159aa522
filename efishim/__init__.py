"""Boots one x86 kernel through every entry point it has, in one deterministic emulator, and diffs what it sees.

    import efishim

    record = efishim.run("vmlinuz", route="hvmlite/pvh")

docs/library.md tells the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efishim.api import Comparison as Comparison
    from efishim.api import Interrupted as Interrupted
    from efishim.api import Record as Record
    from efishim.api import diff as diff
    from efishim.api import run as run
    from efishim.errors import EfishimError as EfishimError

__version__ = "0.1.0"

_PLACES = {
    **dict.fromkeys(("Comparison", "Interrupted", "Record", "diff", "run"), "efishim.api"),
    "EfishimError": "efishim.errors",
}
"""Where names come from that are imported when they are used: the command line must not wait for what it does not need."""


if not TYPE_CHECKING:  # which would take every misspelt name for an object

    def __getattr__(name: str) -> object:
        place = _PLACES.get(name)
        if place is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(place), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
