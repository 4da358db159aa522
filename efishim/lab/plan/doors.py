"""The doors of an image: efishim's own entries, and those that plugins bring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from efishim.errors import ImageError, RouteError, UsageError
from efishim.image.entries import Door, Entry
from efishim.image.opened import Image
from efishim.plugin_guard import PluginError
from efishim.plugins import Registry
from efishim.provider import EntryKind, Provider, refusal

OWN = frozenset(entry.value for entry in Entry)
"""The entries of efishim's own."""


def find_door(image: Image, entry: str, kinds: Mapping[str, EntryKind]) -> Door | None:
    """An entry of an image: where it is, or why the image lacks it; None for an unknown entry. `kinds` are those
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
    """The image has the entry. Raises RouteError with the reason when it lacks it, UsageError for an unknown entry,
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


def route_problem(image: Image, door: Door | None, entry: str, provider: Provider, options: Mapping[str, str]) -> str:
    """Why a route does not apply to an image, empty when it does: the image lacks the entry, or the provider's boot loader
    refuses it. `options` are the provider's own. Raises PluginError.
    """
    if door is None:
        return f"efishim finds no entry {entry!r} in images"
    return door.reason or refusal(provider, entry, image.data, options)


def require_route(image: Image, provider: str, entry: str, options: Mapping[str, str], registry: Registry) -> None:
    """The image has the entry and the provider's boot loader takes it. Raises what `require_door` raises."""
    require_door(image, entry, registry.entries)
    if reason := refusal(registry.provider(provider), entry, image.data, options):
        raise RouteError(f"{provider}/{entry} does not apply to {image.path}: {reason}")
