"""Selects the routes that apply to an image, and makes their plans."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from efishim.closest import suggestion
from efishim.errors import UsageError
from efishim.image.opened import Image
from efishim.lab.plan.arguments import Words, known_options, make_plan
from efishim.lab.plan.doors import find_door, route_problem
from efishim.lab.plan.loader_plan import split_loader
from efishim.lab.plan.modules import no_modules
from efishim.lab.plan.plan import Blob, Plan, option_group, parse_options
from efishim.plugin_guard import PluginError
from efishim.plugins import Registry
from efishim.provider import Provider

_ROUTE = re.compile(r"([^/@]+)(?:/([^/@]+))?(?:@([^/@]+))?")
_OPTION_NAME = re.compile(r"[^=]*")


@dataclass(frozen=True, slots=True)
class NoRoute:
    """A route that does not apply to the image, with the reason."""

    route: str
    reason: str
    failed: bool = False
    """It is a plugin's failure, and has nothing to do with the image."""


@dataclass(frozen=True, slots=True)
class _Route:
    provider: str
    entry: str
    platform: str
    loader: str = ""
    """`LOADER:WAY` for a route through a real boot loader, which the provider is the firmware of."""

    @property
    def name(self) -> str:
        return self.loader or f"{self.provider}/{self.entry}"


def plan_routes(
    registry: Registry, image: Image, blob: Blob, routes: Sequence[str], words: Mapping[str, Any]
) -> tuple[list[Plan], list[NoRoute]]:
    """Plans for `routes` (`provider/entry@platform`, the platform of `words` where none is named), or for all routes that
    there are; those that do not apply to the image are told with the reason.

    An option (`group.name=value`) goes to the routes that know it. Raises UsageError, also when no route knows it.
    """
    base = Words(**words)
    without: list[NoRoute] = []
    wanted = [_parse(registry, text, base.platform) for text in routes]
    if not routes:
        wanted, without = _every(registry, base.platform)
    plans: list[Plan] = []
    used: set[str] = set()
    known_anywhere: set[str] = set()
    for route in wanted:
        provider, platform = registry.provider(route.provider), registry.platform(route.platform)
        entry = next(one for one in provider.entries if one.name == route.entry)
        try:
            known = known_options(provider, entry, platform)
            mine = tuple(option for option in base.options if _name(option) in known)
            door = find_door(image, route.entry, registry.entries)
            refused = no_modules(entry) if base.modules and not routes else ""
            reason = refused or route_problem(
                image, door, route.entry, provider, option_group(parse_options(mine, known), provider.name)
            )
        except PluginError as error:
            without.append(NoRoute(route.name, error.sentence, failed=True))
            continue
        known_anywhere |= known.keys()
        used.update(mine)
        if reason and not route.loader:
            without.append(NoRoute(route.name, reason))
            continue
        chosen = replace(base, provider=route.provider, entry=route.entry, platform=route.platform, options=mine)
        if route.loader:
            chosen = replace(chosen, provider=None, entry=None, loader=route.loader)
        plans.append(make_plan(registry, lambda: blob, chosen))
    for option in base.options:
        if option not in used:
            listed = ", ".join(sorted(known_anywhere)) or "none"
            hint = f"{suggestion(_name(option), known_anywhere)}the options of these routes are: {listed}"
            raise UsageError(f"no route has an option {_name(option)}", hint=hint)
    return plans, without


def _name(option: str) -> str:
    match = _OPTION_NAME.match(option)
    return match[0] if match else option


def split_route(registry: Registry, text: str, platform: str) -> tuple[str, str, str]:
    """(provider, entry, platform) of `provider/entry@platform`; what is not named is the provider's first entry, and
    `platform`. Raises UsageError."""
    route = _parse(registry, text, platform)
    return route.provider, route.entry, route.platform


def route_words(registry: Registry, words: Words, route: str | None) -> tuple[Words, str]:
    """`words` with the provider and the entry that `-r`, or `-e` without `-p`, stands for; and what to tell the user about a
    choice that was made for him, empty without one. Raises UsageError.
    """
    if route is not None:
        if words.provider is not None or words.entry is not None:
            raise UsageError("-r names the provider and the entry; -p and -e name them again", hint="leave out -p and -e")
        chosen = _parse(registry, route, words.platform)
        if chosen.loader:
            return replace(words, loader=chosen.loader, platform=chosen.platform), ""
        return replace(words, provider=chosen.provider, entry=chosen.entry, platform=chosen.platform), ""
    if words.provider is not None:
        provider = registry.provider(words.provider).name
        note = f"{words.provider} is the provider {provider}" if provider != words.provider else ""
        return replace(words, provider=provider), note
    if words.entry is None or words.entry in _entries(registry.default_provider()):
        return words, ""
    able = [one.name for one in registry.providers_ours_first.values() if words.entry in _entries(one)]
    if not able:
        known = dict.fromkeys(entry for one in registry.providers.values() for entry in _entries(one))
        hint = f"{suggestion(words.entry, known)}there are: {', '.join(known)}"
        raise UsageError(f"no provider has an entry {words.entry!r}", hint=hint)
    others = f"; also: {', '.join(able[1:])}" if able[1:] else ""
    return replace(words, provider=able[0]), f"the entry {words.entry} is driven by the provider {able[0]}{others}"


def _entries(provider: Provider) -> tuple[str, ...]:
    """The names of its entries; none of a plugin that fails when it is asked."""
    try:
        return tuple(entry.name for entry in provider.entries)
    except PluginError:
        return ()


def _parse(registry: Registry, text: str, platform: str) -> _Route:
    match = _ROUTE.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r} is not a route", hint="write it like hvmlite/pvh, or hvmlite/pvh@pc with a platform")
    if match[2] is None and match[1].partition(":")[0] in registry.loaders:
        firmware = registry.default_provider()
        loader, way = split_loader(registry, match[1])
        place = registry.platform(match[3] or platform).name
        return _Route(firmware.name, firmware.entries[0].name, place, f"{loader.name}:{way.name}")
    provider = registry.provider(match[1])
    names = [entry.name for entry in provider.entries]
    if not names:
        raise UsageError(f"the provider {provider.name} drives no entry")
    entry = match[2] or names[0]
    if entry not in names:
        hint = f"{suggestion(entry, names)}it has: {', '.join(names)}"
        raise UsageError(f"the provider {provider.name} has no entry {entry!r}", hint=hint)
    place = registry.platform(match[3] or platform).name
    return _Route(provider.name, entry, place)


def _every(registry: Registry, platform: str) -> tuple[list[_Route], list[NoRoute]]:
    """All routes of all providers; a plugin that fails when it is asked has none."""
    routes: list[_Route] = []
    without: list[NoRoute] = []
    for provider in registry.providers.values():
        try:
            routes += [_Route(provider.name, entry.name, platform) for entry in provider.entries]
        except PluginError as error:
            without.append(NoRoute(provider.name, error.sentence, failed=True))
    return routes, without
