"""The doors of an image: efishim's own entries, and those that plugins bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from efishim.errors import ImageError, RouteError, UsageError
from efishim.image.entries import Door, Entry
from efishim.image.opened import Image
from efishim.plugin_guard import PluginError
from efishim.provider import EntryKind

OWN = frozenset(entry.value for entry in Entry)
"""The entries of efishim's own."""


def find_door(image: Image, entry: str, kinds: Mapping[str, EntryKind]) -> Door | None:
    """An entry of an image: where it is, or why the image lacks it; None for an entry that nobody knows. `kinds` are those
    that plugins bring, by name. Raises PluginError.
    """
    if entry in OWN:
        return next(door for door in image.doors if door.entry == entry)
    if entry not in kinds:
        return None
    try:
        return replace(kinds[entry].find(image), entry=entry)
    except ImageError as error:
        return Door(entry, reason=error.sentence)


def all_doors(image: Image, kinds: Mapping[str, EntryKind]) -> tuple[Door, ...]:
    """Every entry: efishim's own, then those of plugins. A plugin's failure is a reason."""
    return (*image.doors, *(_found(image, name, kinds) for name in kinds))


def _found(image: Image, entry: str, kinds: Mapping[str, EntryKind]) -> Door:
    try:
        door = find_door(image, entry, kinds)
    except PluginError as error:
        return Door(entry, reason=error.sentence)
    assert door is not None
    return door


def require_door(image: Image, entry: str, kinds: Mapping[str, EntryKind]) -> None:
    """The image has the entry. Raises RouteError with the reason when it lacks it, UsageError for an entry that nobody knows,
    PluginError.
    """
    if entry in OWN:
        image.require(Entry(entry))
        return
    door = find_door(image, entry, kinds)
    if door is None:
        known = ", ".join((*Entry, *kinds))
        raise UsageError(f"no image has an entry called {entry!r}", hint=f"entries that efishim can find: {known}")
    if not door.applies:
        have = ", ".join(image.entries) or "none that efishim knows"
        raise RouteError(f"{image.path} has no {entry} entry: {door.reason}", hint=f"entries of this image: {have}")
