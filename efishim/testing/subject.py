"""What the conformance kit is given: a provider, the machine that it describes, and an image that it boots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, cast

import efishim_firmware_stubs

from efishim.image.opened import Image, open_image
from efishim.lab.plan.doors import find_door
from efishim.plugin_guard import Guarded
from efishim.plugins import Registry, load_plugins
from efishim.provider import Entry, EntryKind, MachineFacts, Provider, Requirement, Violation
from efishim.testing.memory import facts

NOTHING: Mapping[str, str] = MappingProxyType({})


def finding(rule: Requirement, found: str) -> Violation:
    """A rule that does not hold; `found` is a clause."""
    return Violation(rule.id, rule.demand, found, rule.reference)


@cache
def opened(data: bytes) -> Image:
    """An image, opened once."""
    return open_image(data, path="the image of the kit")


@cache
def _probe() -> bytes:
    return efishim_firmware_stubs.probe_kernel()


@cache
def _installed() -> Registry:
    return load_plugins()


class _WithProvider:
    """The installed plugins, with one provider in the place of whichever has its name."""

    def __init__(self, name: str, provider: Provider, observers: tuple[Any, ...]) -> None:
        self._name, self._provider, self._observers = name, provider, observers

    def provider(self, name: str) -> Provider:
        """The one, or another."""
        return self._provider if name == self._name else _installed().provider(name)

    def observers(self) -> tuple[Any, ...]:
        """Those of the kit; others have nothing to say here."""
        return self._observers

    def __getattr__(self, name: str) -> Any:
        return getattr(_installed(), name)


@dataclass(frozen=True)
class Subject:
    """A provider under test."""

    provider: Provider
    machine: MachineFacts = field(default_factory=facts)
    """The machine that it is asked to describe, where no kernel runs."""
    image: bytes = field(default_factory=_probe)
    """What it boots: by default the probe kernel, which has an entry of every kind."""
    platform: str = "pc"
    """The machine that the image runs on."""
    platform_options: Mapping[str, str] = field(default_factory=dict)
    """Of the platform, by name without the group."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the provider, by name without the group."""

    @cached_property
    def guarded(self) -> Provider:
        """The provider as a run calls it: what it raises and returns is looked at."""
        return cast(Provider, Guarded("efishim_providers", self.provider.name, self.provider.name, self.provider))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Those that the image has."""
        image, kinds = opened(self.image), self.kinds
        doors = {one.name: find_door(image, one.name, kinds) for one in self.provider.entries}
        return tuple(one for one in self.provider.entries if (door := doors[one.name]) is not None and door.applies)

    @property
    def kinds(self) -> Mapping[str, EntryKind]:
        """Entries that plugins bring."""
        return _installed().entries

    def registry(self, provider: Provider, *observers: Any) -> Registry:
        """Plugins for a run of it."""
        return cast(Registry, _WithProvider(self.provider.name, provider, observers))
