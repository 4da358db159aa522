"""Plugins of other people, as if installed: providers that do as `hvmlite` and `grub` do, but for what a test breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any

import pytest
from efishim_plugins.grub.provider import Grub
from efishim_plugins.hvmlite.provider import Hvmlite

from efishim import plugins
from efishim.hookspecs import hookimpl
from efishim.plugins import GROUP
from efishim.provider import BootRequest, CpuState, Handover, Loaded

NAME = "vmm"
"""Of the provider."""

After = Callable[[Handover, BootRequest, Any], Handover]
Entering = Callable[[CpuState], CpuState]


@dataclass(frozen=True)
class Distribution:
    """What installed the plugin."""

    name: str = "a-vmm"
    version: str = "7.1"


@dataclass
class Source:
    """The plugin's entry point."""

    plugin: Any
    name: str = "vmm"
    dist: Distribution = Distribution()

    def load(self) -> Any:
        """The plugin."""
        return self.plugin


class _Broken:
    """Mixed into a provider: what is changed behind its back."""

    name = NAME
    default = False
    after: Any = None
    entering: Any = None

    def produce(self, request: BootRequest, memory: Any, arena: Any) -> Handover:
        """As it is, and then what the test does to guest memory."""
        handover: Handover = super().produce(request, memory, arena)  # type: ignore[misc]
        return self.after(handover, request, memory) if self.after else handover

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """As it is, and then what the test does to registers."""
        state: CpuState = super().cpu_state(entry, loaded, handover)  # type: ignore[misc]
        return self.entering(state) if self.entering else state


class BrokenHvmlite(_Broken, Hvmlite):
    """Drives `pvh`."""


class BrokenGrub(_Broken, Grub):
    """Drives `linux64` and others."""


def provider(kind: type[Any], *, after: After | None = None, entering: Entering | None = None) -> Any:
    """A provider called `vmm` with these faults."""
    made = kind()
    made.after, made.entering = after, entering
    return made


def source(*providers: Any, **hooks: Callable[..., Any]) -> Source:
    """An installed plugin with these providers and hooks."""
    given = {"efishim_providers": lambda: list(providers), **hooks}
    return Source(SimpleNamespace(**{name: hookimpl(function) for name, function in given.items()}))


def install(monkeypatch: pytest.MonkeyPatch, *sources: Source) -> None:
    """These beside what is installed, for everything in this process."""
    monkeypatch.setattr(plugins, "entry_points", lambda group: [*entry_points(group=GROUP), *sources])
