"""Completions for the values of options and arguments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.shell_completion import CompletionItem

from efishim.errors import UsageError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.plugins import Registry
    from efishim.provider import Provider


class _FileName(click.ParamType):  # type: ignore[type-arg]  # generic in its stubs only
    """The name of a file or folder, which is not empty; the shell knows its files."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As it is. An empty name comes from a variable that was not set, and would be taken for "none"."""
        if not value:
            self.fail("the name of a file is empty", param, ctx)
        return value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """A path."""
        return [CompletionItem(incomplete, type="file")]


FILE = _FileName()
"""The type of every argument and option that names a file or a folder."""


class _Kernel(_FileName):
    """A kernel: the name of one in efishim.toml, a path, or a reference such as deb:PACKAGE."""

    name = "kernel"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path or reference that a name stands for."""
        given = super().convert(value, param, ctx)
        return given if ctx is None else _state(ctx).project.kernel(given)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of the project before the files."""
        named = _items(_state(ctx).project.kernels.items(), incomplete)
        return [*named, *super().shell_complete(ctx, param, incomplete)]


KERNEL = _Kernel()
"""The type of arguments that name a kernel to boot."""


def routes_of_project(context: click.Context, _parameter: click.Parameter, routes: Any) -> Any:
    """Routes on the command line, with those of efishim.toml in the place of their names."""
    return _state(context).project.expanded(routes)


def route_of_project(context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    """The same where one route is meant. Raises UsageError for a name that stands for several."""
    if name is None:
        return None
    found = _state(context).project.expanded((name,))
    if len(found) != 1:
        raise UsageError(f"{name} stands for {len(found)} routes, but one is needed", hint=f"choose one: {', '.join(found)}")
    return found[0]


def provider(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A provider, with its summary where the shell shows it."""
    return _items(((one.name, one.summary) for one in _registry(context).providers.values()), incomplete)


def loader(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A boot loader, with its ways where it has several."""
    found = _registry(context).loaders.values()
    ways = ((f"{one.name}:{way.name}", way.summary) for one in found if len(one.ways) > 1 for way in one.ways)
    return _items((*((one.name, one.summary) for one in found), *ways), incomplete)


def platform(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A platform."""
    return _items(((one.name, one.summary) for one in _registry(context).platforms.values()), incomplete)


def profile(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A firmware profile, or the path of a file."""
    known = _items(((one.name, one.summary) for one in _registry(context).profiles.values()), incomplete)
    return [*known, CompletionItem(incomplete, type="file")]


def entry(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """An entry of the provider that was named."""
    chosen = _provider(context)
    return _items(((one.name, one.summary) for one in chosen.entries) if chosen else (), incomplete)


def route(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """A route: provider and entry."""
    providers = _registry(context).providers.values()
    named = [(name, ", ".join(routes)) for name, routes in _state(context).project.routes.items()]
    return _items(
        ((f"{one.name}/{door.name}", door.summary) for one in providers for door in one.entries), incomplete
    ) + _items(named, incomplete)


def option(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """An option of the route and the platform that were named, up to its equals sign."""
    from efishim.lab.plan.arguments import known_options

    registry = _registry(context)
    chosen = _provider(context)
    machine = registry.platforms.get(str(context.params.get("platform")))
    if chosen is None or machine is None:
        return []
    doors = {one.name: one for one in chosen.entries}
    door = doors.get(str(context.params.get("entry")), chosen.entries[0])
    return _items(((f"{name}=", text) for name, text in known_options(chosen, door, machine).items()), incomplete)


def _provider(context: click.Context) -> Provider | None:
    """The provider that was named, or that is taken when none is."""
    registry, name = _registry(context), context.params.get("provider")
    return registry.default_provider() if name is None else registry.providers.get(str(name))


def _items(words: Iterable[tuple[str, str]], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(word, help=text) for word, text in words if word.startswith(incomplete)]


def _registry(context: click.Context) -> Registry:
    return _state(context).registry


def _state(context: click.Context) -> State:
    from efishim.cli.app import State

    return context.find_root().ensure_object(State)
