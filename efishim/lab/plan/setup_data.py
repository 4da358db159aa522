"""Reads `--setup-data TYPE=FILE[@PLACE]`: nodes for the chain that hdr.setup_data begins (boot.rst, "setup_data")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from efishim.errors import UsageError
from efishim.image.entries import Entry as ImageEntry
from efishim.lab.plan.plan import Blob, SetupNode
from efishim.wire.bootparams import SETUP_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from efishim.provider import Entry, EntryKind

LARGEST, MOST = 16 << 20, 64
KERNEL = "kernel"
"""PLACE: directly behind the kernel's file in memory, where QEMU 7.2 had the node with its seed."""
ENTRIES = (ImageEntry.LINUX16, ImageEntry.LINUX32, ImageEntry.LINUX64, ImageEntry.EFI_HANDOVER)
"""Where the kernel is given a setup header; behind the others it makes its own boot_params."""
WRITE = "write it like --setup-data SETUP_RNG_SEED=seed.bin, with a number or a name from setup_data.h"
_PLACE = re.compile(r"(?P<file>.+)@(?P<place>kernel|0x[0-9a-fA-F]{1,16})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Names:
    """Types by their names, with and without SETUP_ before them."""

    numbers: Mapping[str, int]

    def number(self, text: str) -> int | None:
        """What is meant, None for a name that is not defined and a number of more than 32 bits."""
        name = text.upper().removeprefix("SETUP_")
        if name in self.numbers:
            return self.numbers[name]
        digits, base = (text[2:], 16) if text.startswith("0x") else (text, 10)
        if not (digits.isascii() and digits.isalnum() and len(digits) <= 10):
            return None
        try:
            number = int(digits, base)
        except ValueError:
            return None
        return number if number < 1 << 32 else None


NAMES = _Names({name.removeprefix("SETUP_"): number for number, name in SETUP_TYPES.items()})


def read(texts: tuple[str, ...], entry: Entry, kinds: Mapping[str, EntryKind]) -> tuple[SetupNode, ...]:
    """The nodes in their order. Raises UsageError, also for an entry that is given none, and ImageError."""
    if not texts:
        return ()
    kind = kinds.get(entry.name)
    if entry.name not in ENTRIES and (kind is None or getattr(kind, "follows", "") not in ENTRIES):
        raise UsageError(
            f"the entry {entry.name} is given no setup_data", hint=f"--setup-data is for entries such as {', '.join(ENTRIES)}"
        )
    if len(texts) > MOST:
        raise UsageError(f"{len(texts)} nodes of setup_data are too many, {MOST} may be given")
    return tuple(_node(text) for text in texts)


def _node(text: str) -> SetupNode:
    name, _, rest = text.partition("=")
    number = NAMES.number(name)
    if number is None or not rest:
        raise UsageError(f"{text[:40]!r} is no node of setup_data", hint=WRITE)
    match = _PLACE.fullmatch(rest)
    path, place = (match["file"], match["place"].lower()) if match else (rest, "")
    return SetupNode(number, Blob.from_file(path, what="node of setup_data", limit=LARGEST), place)


__all__ = ["KERNEL", "SetupNode", "read"]
