"""Loads plugins and calls their hooks. A plugin that fails is reported by name and does not affect the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from inspect import getattr_static
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pluggy

from efishim import hookspecs
from efishim.errors import UsageError

if TYPE_CHECKING:
    import click

    from efishim.provider import FirmwareProtocol, Observer, Platform, Provider, ReportFormat

GROUP = "efishim_v1"

Thing = TypeVar("Thing")

_NAME = re.compile(r"^[a-z][a-z0-9_-]*$")
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "efishim_providers": (
        *("summary", "structure", "specifications", "limits", "entries", "options"),
        *("produce", "read_back", "cpu_state"),
    ),
    "efishim_platforms": ("summary", "options", "build"),
    "efishim_firmware_protocols": ("summary", "guid", "install"),
    "efishim_observers": ("summary", "start", "finish"),
    "efishim_reports": ("summary", "render"),
    "efishim_commands": ("params", "callback"),
}


class EntryPointLike(Protocol):
    """What is used of importlib.metadata.EntryPoint."""

    @property
    def name(self) -> str:
        """Name of the plugin."""

    def load(self) -> Any:
        """Import and give the plugin."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A plugin that could not be used, in whole or in part."""

    plugin: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that was loaded."""

    name: str
    module: str
    version: str
    hooks: tuple[str, ...]


class Registry:
    """Everything that the plugins gave. Asking a hook twice gives the same objects, but for observers."""

    def __init__(self, sources: Iterable[EntryPointLike]) -> None:
        self._manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        self._manager.add_hookspecs(hookspecs)
        self._problems: list[Problem] = []
        self._cache: dict[str, dict[str, Any]] = {}
        self._versions: dict[str, str] = {}
        self._owners: dict[tuple[str, str], str] = {}
        for source in sorted(sources, key=lambda source: source.name):
            self._load(source)

    def _load(self, source: EntryPointLike) -> None:
        name = source.name
        if self._manager.has_plugin(name):
            self._problems.append(Problem(name, "two installed packages have a plugin of this name; the first is used"))
            return
        try:
            plugin = source.load()
            self._manager.register(plugin, name)
            # check_pending speaks of the first bad plugin; only this one can be bad, the others passed before it came.
            self._manager.check_pending()
        except (Exception, SystemExit) as error:  # noqa: BLE001 a plugin may raise anything and must not end the others
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            self._problems.append(Problem(name, f"it does not load: {_sentence(error)}"))
            return
        distribution = getattr(source, "dist", None)
        self._versions[name] = str(getattr(distribution, "version", "") or "")

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What went wrong so far, in the order in which it was found."""
        return tuple(self._problems)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """The plugins that were loaded, by name."""
        found = []
        for name, plugin in sorted(self._manager.list_name_plugin()):
            if plugin is None:
                continue
            callers = self._manager.get_hookcallers(plugin) or []
            module = plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__
            hooks = tuple(sorted(caller.name for caller in callers))
            found.append(Plugin(name, module, self._versions.get(name, ""), hooks))
        return tuple(found)

    def _ask(self, hook: str, key: Callable[[Any], str] = lambda thing: str(thing.name)) -> dict[str, Any]:
        """All objects of a hook by name, asking each plugin by itself."""
        found: dict[str, Any] = {}
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in sorted(implementations, key=lambda one: str(one.plugin_name)):
            plugin = str(implementation.plugin_name)
            try:
                things = list(implementation.function())
                for thing in things:
                    name = self._checked(hook, thing, key)
                    if name in found:
                        self._problems.append(Problem(plugin, f"{name} of {hook} exists already and is left out"))
                    else:
                        found[name] = thing
                        self._owners[hook, name] = plugin
            except (Exception, SystemExit) as error:  # noqa: BLE001 as above
                self._problems.append(Problem(plugin, f"{hook} failed: {_sentence(error)}"))
        return dict(sorted(found.items()))

    @staticmethod
    def _checked(hook: str, thing: Any, key: Callable[[Any], str]) -> str:
        missing = [need for need in ("name", *_NEEDS[hook]) if not _has(thing, need)]
        if missing:
            raise TypeError(f"{type(thing).__name__} lacks {', '.join(missing)}")
        name = key(thing)
        if hook != "efishim_firmware_protocols" and not _NAME.match(name):
            raise TypeError(f"{name!r} is not a name of lower-case letters, digits, - and _")
        return name

    def _once(self, hook: str) -> dict[str, Any]:
        if hook not in self._cache:
            self._cache[hook] = self._ask(hook)
        return self._cache[hook]

    @property
    def providers(self) -> Mapping[str, Provider]:
        """By name."""
        return self._once("efishim_providers")

    @property
    def platforms(self) -> Mapping[str, Platform]:
        """By name."""
        return self._once("efishim_platforms")

    @property
    def firmware_protocols(self) -> tuple[FirmwareProtocol, ...]:
        """In order of their names."""
        return tuple(self._once("efishim_firmware_protocols").values())

    @property
    def reports(self) -> Mapping[str, ReportFormat]:
        """By name."""
        return self._once("efishim_reports")

    @property
    def commands(self) -> Mapping[str, click.Command]:
        """By name."""
        return self._once("efishim_commands")

    def given_by(self, plugin: str) -> list[str]:
        """What a plugin gives, as `provider NAME` and so on; asks all hooks."""
        for hook in _NEEDS:
            self._once(hook)
        words = {hook: hook.removeprefix("efishim_").removesuffix("s").replace("_", " ") for hook in _NEEDS}
        return [f"{words[hook]} {name}" for (hook, name), owner in sorted(self._owners.items()) if owner == plugin]

    def observers(self) -> tuple[Observer, ...]:
        """New observers for one run, in order of their names."""
        return tuple(self._ask("efishim_observers").values())

    def provider(self, name: str) -> Provider:
        """A provider. Raises UsageError naming those that exist."""
        return _pick(self.providers, name, "provider", self._problems)

    def default_provider(self) -> Provider:
        """The one that says of itself that it is the default (`default = True`), else the first by name. Raises UsageError."""
        for provider in self.providers.values():
            if getattr(provider, "default", False) is True:
                return provider
        return self.provider(next(iter(self.providers), ""))

    def platform(self, name: str) -> Platform:
        """A platform. Raises UsageError naming those that exist."""
        return _pick(self.platforms, name, "platform", self._problems)


def load_plugins() -> Registry:
    """The plugins of all installed packages. Importing them is cheap as long as they import their rooms when used."""
    return Registry(entry_points(group=GROUP))


def _pick(things: Mapping[str, Thing], name: str, what: str, problems: list[Problem]) -> Thing:
    try:
        return things[name]
    except KeyError:
        listed = ", ".join(things) or "none"
        hint = f"there are: {listed}"
        if problems:
            hint += f"; these plugins had problems: {', '.join(sorted({problem.plugin for problem in problems}))}"
        raise UsageError(f"there is no {what} {name!r}", hint=hint) from None


def _has(thing: Any, attribute: str) -> bool:
    """Is the attribute there? It is not evaluated: a property may import a whole room."""
    try:
        getattr_static(thing, attribute)
    except AttributeError:
        return False
    return True


def _sentence(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def attempt(action: Callable[[], Any]) -> str:
    """Do something of a plugin; what it raises as one line, empty when all went well."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 a plugin may raise anything
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""
