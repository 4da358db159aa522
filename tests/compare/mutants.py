"""The same run with exactly one thing changed: providers and platforms that do what the real ones do, and then one thing more.

They are plugins like any other and live in this process only; the route keeps its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from efishim.hookspecs import hookimpl
from efishim.lab.record import Record
from efishim.plugins import Registry, load_plugins
from efishim.provider import Arena, BootRequest, GuestMemory, Handover, Platform, Provider, native_structures
from efishim.testing import run

ChangeMemory = Callable[[GuestMemory, Handover], None]
ChangeMachine = Callable[[Any, Any], None]
"""(board, PlatformFacts)."""


OPTIONAL = ("runs_on", "structures", "module_alignment", "keeps_boot_services")
"""What a provider may have beside the protocol."""


class ChangedProvider:
    """A provider whose structure is changed after it was made."""

    def __init__(self, inner: Provider, change: ChangeMemory) -> None:
        self.inner = inner
        self.change = change
        self.name, self.summary, self.structure = inner.name, inner.summary, inner.structure
        self.specifications, self.limits = inner.specifications, inner.limits
        self.entries, self.options = inner.entries, inner.options
        for name in OPTIONAL:  # looked for without being called, so that they must be there
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        handover = self.inner.produce(request, memory, arena)
        self.change(memory, handover)
        return handover

    def read_back(self, memory: GuestMemory, handover: Handover) -> Any:
        return self.inner.read_back(memory, handover)

    def cpu_state(self, entry: str, loaded: Any, handover: Handover) -> Any:
        return self.inner.cpu_state(entry, loaded, handover)


class ChangedPlatform:
    """A machine that is changed after it was built."""

    def __init__(self, inner: Platform, change: ChangeMachine) -> None:
        self.inner = inner
        self.change = change
        self.name, self.summary, self.options = inner.name, inner.summary, inner.options

    def build(self, board: Any, options: Any) -> Any:
        facts = self.inner.build(board, options)
        self.change(board, facts)
        return facts


@dataclass(frozen=True)
class _Source:
    """An entry point that gives one provider and one platform."""

    provider: Any
    platform: Any
    name: str = "mutants"

    def load(self) -> Any:
        source = self

        class Plugin:
            @hookimpl
            def efishim_providers(self) -> list[Any]:
                return [source.provider]

            @hookimpl
            def efishim_platforms(self) -> list[Any]:
                return [source.platform]

        return Plugin()


def changed_run(
    route: str,
    *,
    memory: ChangeMemory | None = None,
    machine: ChangeMachine | None = None,
    image: Any = None,
    **words: Any,
) -> Record:
    """A run on `provider/entry` with one change, or with none."""
    provider, entry = route.split("/")
    real = load_plugins()
    inner, platform = real.provider(provider), real.platform(words.get("platform", "pc"))
    source = _Source(
        ChangedProvider(inner, memory or (lambda *_: None)),
        ChangedPlatform(platform, machine or (lambda *_: None)),
    )
    return run(image, registry=Registry([source]), provider=provider, entry=entry, **words)


def field_of(route: str, structure: str, field: str) -> ChangeMemory:
    """Change the lowest byte of a field, in a structure that the provider names."""
    provider = load_plugins().provider(route.split("/", maxsplit=1)[0])

    def change(memory: GuestMemory, handover: Handover) -> None:
        for one in native_structures(provider, memory, handover):
            if one.name == structure and one.layout is not None:
                leaf = next(leaf for leaf in one.layout.leaves() if leaf.name == field)
                flip(memory, one.address + leaf.offset)
                return
        raise AssertionError(f"{route} has no {structure}.{field}")

    return change


def fields(route: str, structures: tuple[str, ...], **words: Any) -> list[tuple[str, str]]:
    """All (structure, field) of those structures of the route."""
    provider = load_plugins().provider(route.split("/", maxsplit=1)[0])
    found: list[tuple[str, str]] = []

    def note(memory: GuestMemory, handover: Handover) -> None:
        found.extend(
            (one.name, leaf.name)
            for one in native_structures(provider, memory, handover)
            if one.layout is not None and one.name.split("[")[0] in structures
            for leaf in one.layout.leaves()
        )

    changed_run(route, memory=note, until="entry", **words)
    return found


def flip(memory: GuestMemory, address: int) -> None:
    """Change one byte."""
    memory.write(address, bytes([memory.read(address, 1)[0] ^ 0x04]))
