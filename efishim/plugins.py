"""Loads plugins and calls their hooks. A plugin that fails is reported by name and does not affect the others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pluggy

from efishim import hookspecs
from efishim.closest import suggestion
from efishim.errors import UsageError
from efishim.plugin_guard import Guarded, PluginError, described, has, problem
from efishim.plugin_identity import OURS, Identity, distribution_of, module_of, sha256_of

if TYPE_CHECKING:
    import click

    from efishim.provider import (
        EntryKind,
        FirmwareProfile,
        FirmwareProtocol,
        ImageSource,
        Loader,
        Observer,
        Platform,
        Provider,
        ReportFormat,
        RuleSet,
    )

GROUP = "efishim_v1"

BLOCKED = "EFISHIM_BLOCK_PLUGINS"
"""Environment variable: names of plugins, separated by commas, that are not loaded; `*` stands for all but efishim's own."""

CHOSEN = frozenset({"efishim_providers", "efishim_platforms", "efishim_loaders", "efishim_reports", "efishim_commands"})
"""Hooks whose objects users choose by name: of two with one name, each has its distribution's in front (`dist:name`)."""
GUARDED = frozenset(
    {"efishim_providers", "efishim_platforms", "efishim_loaders", "efishim_entries", "efishim_reports", "efishim_image_sources"}
)
EXACT = {"efishim_rules": "RuleSet", "efishim_profiles": "FirmwareProfile"}
"""Hooks whose objects are data, and of which type they must be."""

Thing = TypeVar("Thing")

_NAME = re.compile(r"[a-z][a-z0-9_+-]*")
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "efishim_providers": (
        *("summary", "structure", "specifications", "limits", "entries", "options"),
        *("produce", "read_back", "cpu_state"),
    ),
    "efishim_platforms": ("summary", "options", "build"),
    "efishim_loaders": ("summary", "specifications", "limits", "ways", "programs", "configuration"),
    "efishim_entries": ("summary", "specifications", "follows", "leaves_out", "requirements", "find", "load", "check"),
    "efishim_rules": ("summary", "toml"),
    "efishim_image_sources": ("summary", "form", "find"),
    "efishim_profiles": ("summary", "toml"),
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
    hook: str = ""
    """The hook that failed, where one did."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that was loaded."""

    name: str
    module: str
    version: str
    hooks: tuple[str, ...]


class Registry:
    """Everything that the plugins provide. Asking a hook twice gives the same objects, except observers."""

    def __init__(self, sources: Iterable[EntryPointLike]) -> None:
        self._manager = pluggy.PluginManager(hookspecs.NAMESPACE)
        self._manager.add_hookspecs(hookspecs)
        self._problems: list[Problem] = []
        self._cache: dict[str, dict[str, Any]] = {}
        self._distributions: dict[str, tuple[str, str]] = {}
        self._owners: dict[tuple[str, str], str] = {}
        self._same: dict[str, dict[str, list[str]]] = {}
        self._loaded: tuple[tuple[Plugin, Identity], ...] | None = None
        sources = sorted(sources, key=lambda source: (source.name, *distribution_of(source)))
        names = [source.name for source in sources]
        for source in sources:
            self._load(source, twice=names.count(source.name) > 1)

    def _load(self, source: EntryPointLike, *, twice: bool) -> None:
        distribution = distribution_of(source)
        name = f"{distribution[0]}:{source.name}" if twice and distribution[0] else source.name
        if self._manager.has_plugin(name):
            self._problems.append(Problem(name, "one installed package has two plugins of this name; the first is used"))
            return
        try:
            plugin = source.load()
            self._manager.register(plugin, name)
            # check_pending speaks of the first bad plugin; only this one can be bad, the others passed before it came.
            self._manager.check_pending()
        except (Exception, SystemExit) as error:  # noqa: BLE001 a plugin may raise anything and must not end the others
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            self._problems.append(Problem(name, f"it does not load: {described(error)}"))
            return
        self._distributions[name] = distribution

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
            hooks = tuple(sorted(caller.name for caller in callers))
            found.append(Plugin(name, module_of(plugin), self._distributions[name][1], hooks))
        return tuple(found)

    def _ask(self, hook: str) -> dict[str, Any]:
        """All objects of a hook by name, asking each plugin on its own."""
        given: dict[str, list[tuple[str, Any]]] = {}
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        # efishim's own first: of two things of one name, the other is left out where users cannot choose.
        for implementation in sorted(implementations, key=self._order):
            plugin = str(implementation.plugin_name)
            try:
                for thing in list(implementation.function()):
                    given.setdefault(self._checked(hook, thing), []).append((plugin, thing))
            except (Exception, SystemExit) as error:  # noqa: BLE001 as above
                module = module_of(implementation.plugin)
                self._problems.append(Problem(plugin, f"{hook} failed: {described(error, module)}", hook))
        found: dict[str, Any] = {}
        for name, things in given.items():
            for plugin, thing in things:
                known_as = name if len(things) == 1 or hook not in CHOSEN else self._qualified(plugin, name)
                if known_as in found:
                    self._problems.append(Problem(plugin, f"{known_as} of {hook} exists already and is left out"))
                    continue
                found[known_as] = Guarded(hook, known_as, plugin, thing) if hook in GUARDED else thing
                self._owners[hook, known_as] = plugin
                if known_as != name:
                    self._same.setdefault(hook, {}).setdefault(name, []).append(known_as)
        return dict(sorted(found.items()))

    def _order(self, implementation: pluggy.HookImpl) -> tuple[bool, str]:
        name = str(implementation.plugin_name)
        return self._distributions[name][0] != OURS, name

    def _qualified(self, plugin: str, name: str) -> str:
        """`distribution:name`, or `plugin:name` for a plugin that no package brought."""
        return f"{self.distribution(plugin)}:{name}"

    @staticmethod
    def _checked(hook: str, thing: Any) -> str:
        missing = [need for need in ("name", *_NEEDS[hook]) if not has(thing, need)]
        if missing:
            raise TypeError(f"{type(thing).__name__} lacks {', '.join(missing)}")
        found = problem(thing, EXACT[hook]) if hook in EXACT else None
        if found is not None:
            raise TypeError(f"it gave {found}")
        name = str(thing.name)
        if hook != "efishim_firmware_protocols" and not _NAME.fullmatch(name):
            raise TypeError(f"{name!r} is not a name of lower-case letters, digits, -, _ and +")
        if hook == "efishim_entries":
            from efishim.image.entries import Entry  # noqa: PLC0415 - only who asks for entries needs it

            if name in frozenset(Entry):
                raise TypeError(f"{name!r} is an entry of efishim's own")
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
    def providers_ours_first(self) -> Mapping[str, Provider]:
        """By name, efishim's own before those of other packages: for who takes the first that reads a structure. Another
        package's provider may read back nothing but what it wrote at its own addresses.
        """
        others = {name for name in self.providers if self.distribution(self.owner("efishim_providers", name)) != OURS}
        return {name: self.providers[name] for name in sorted(self.providers, key=lambda name: (name in others, name))}

    @property
    def platforms(self) -> Mapping[str, Platform]:
        """By name."""
        return self._once("efishim_platforms")

    @property
    def loaders(self) -> Mapping[str, Loader]:
        """By name."""
        return self._once("efishim_loaders")

    @property
    def entries(self) -> Mapping[str, EntryKind]:
        """By name: the entries that plugins bring."""
        return self._once("efishim_entries")

    @property
    def firmware_protocols(self) -> tuple[FirmwareProtocol, ...]:
        """In order of their names."""
        return tuple(self._once("efishim_firmware_protocols").values())

    @property
    def rules(self) -> Mapping[str, RuleSet]:
        """By name: the sets of rules that plugins add."""
        return self._once("efishim_rules")

    @property
    def image_sources(self) -> Mapping[str, ImageSource]:
        """By name, which is what stands before the colon."""
        return self._once("efishim_image_sources")

    @property
    def profiles(self) -> Mapping[str, FirmwareProfile]:
        """By name."""
        return self._once("efishim_profiles")

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
        return [f"{_one_of(hook)} {name}" for (hook, name), owner in sorted(self._owners.items()) if owner == plugin]

    def observers(self) -> tuple[Observer, ...]:
        """New observers for one run, in order of their names."""
        return tuple(self._ask("efishim_observers").values())

    def provider(self, name: str) -> Provider:
        """A provider, by its name or as `distribution:name`. Raises UsageError naming those that exist, or those that have
        this name; PluginError when a plugin failed that may have it.
        """
        return self._pick("efishim_providers", self.providers, self._aliased(name))

    def _aliased(self, name: str) -> str:
        """The provider that has another name by which people know it (`aliases`); a name always comes first."""
        if name in self.providers:
            return name
        return next((one.name for one in self.providers_ours_first.values() if name in aliases(one)), name)

    def default_provider(self) -> Provider:
        """The one that says of itself that it is the default (`default = True`), else the first by name. Raises UsageError."""
        defaults = [one for one in self.providers.values() if getattr(one, "default", False) is True]
        if len(defaults) > 1:
            names = ", ".join(one.name for one in defaults)
            raise UsageError("several providers claim to be the default", hint=f"choose one with -p: {names}")
        return defaults[0] if defaults else self.provider(next(iter(self.providers), ""))

    def platform(self, name: str) -> Platform:
        """A platform. Raises UsageError naming those that exist."""
        return self._pick("efishim_platforms", self.platforms, name)

    def loader(self, name: str) -> Loader:
        """A boot loader. Raises UsageError naming those that exist."""
        return self._pick("efishim_loaders", self.loaders, name)

    def owner(self, hook: str, name: str) -> str:
        """Name of the plugin that gave an object."""
        return self._owners.get((hook, name), "")

    def distribution(self, plugin: str) -> str:
        """The package that brought a plugin; the plugin's own name when none did."""
        return self._distributions[plugin][0] or plugin

    def refuse(self, hook: str, name: str, sentence: str) -> None:
        """Note that an object of a plugin cannot be used."""
        problem = Problem(self.owner(hook, name), sentence, hook)
        if problem not in self._problems:
            self._problems.append(problem)

    def took_part(self, chosen: Iterable[tuple[str, str]], *, protocols: bool, observers: bool) -> tuple[Identity, ...]:
        """The plugins of other installed packages that take part in a run, by name; `chosen` are hooks with the name of what
        was taken of each.
        """
        hooks = {"efishim_firmware_protocols": protocols, "efishim_observers": observers}
        plugins = [owner for (hook, _), owner in self._owners.items() if hooks.get(hook)]
        plugins += [self.owner(hook, name) for hook, name in chosen]
        found = (self._identity(name) for name in sorted(set(plugins) & self._distributions.keys()))
        return tuple(one for one in found if one.foreign)

    def loaded(self) -> tuple[tuple[Plugin, Identity], ...]:
        """The plugins that were loaded, by name, with who each is; the files of efishim's own are not hashed."""
        if self._loaded is None:
            self._loaded = self._identities()
        return self._loaded

    def unchanged(self) -> bool:
        """Are the files of other packages' plugins still those that `loaded` hashed? What runs was read from them before."""
        return self.loaded() == self._identities()

    def _identities(self) -> tuple[tuple[Plugin, Identity], ...]:
        return tuple((plugin, self._identity(plugin.name)) for plugin in self.plugins)

    def _identity(self, name: str) -> Identity:
        one = Identity(name, *self._distributions[name], "")
        return replace(one, sha256=sha256_of(self._manager.get_plugin(name))) if one.foreign else one

    def _pick(self, hook: str, things: Mapping[str, Thing], name: str) -> Thing:
        if name in things:
            return things[name]
        what = _one_of(hook)
        same = self._same.get(hook, {}).get(name)
        if same:
            raise UsageError(f"{len(same)} plugins have a {what} {name!r}", hint=f"choose one: {' or '.join(sorted(same))}")
        distribution, _, bare = name.partition(":")
        if bare in things and self._qualified(self._owners[hook, bare], bare) == f"{distribution}:{bare}":
            return things[bare]
        hint = f"{suggestion(name, things)}there are: {', '.join(things) or 'none'}"
        failed = [problem for problem in self._problems if problem.hook == hook]
        if failed:
            first = failed[0]
            raise PluginError(f"there is no {what} {name!r}; the plugin {first.plugin}: {first.sentence}", hint=hint)
        if self._problems:
            hint += f"; these plugins had problems: {', '.join(sorted({problem.plugin for problem in self._problems}))}"
        raise UsageError(f"there is no {what} {name!r}", hint=hint)


def _one_of(hook: str) -> str:
    """What one object of a hook is called: `provider`, `entry`, `image source`."""
    words = hook.removeprefix("efishim_").replace("_", " ")
    return f"{words.removesuffix('ies')}y" if words.endswith("ies") else words.removesuffix("s")


def aliases(provider: Provider) -> tuple[str, ...]:
    """Other names that a provider goes by on the command line: `aliases`, by default none."""
    try:
        return tuple(getattr(provider, "aliases", ()))
    except PluginError:  # whoever chooses the provider by its name hears of it
        return ()


def load_plugins() -> Registry:
    """The plugins of all installed packages, except those that EFISHIM_BLOCK_PLUGINS names. Importing them is cheap if they
    import their own modules only when used.
    """
    blocked = {name.strip() for name in os.environ.get(BLOCKED, "").split(",")}
    return Registry(source for source in entry_points(group=GROUP) if not _is_blocked(source, blocked))


def _is_blocked(source: EntryPointLike, blocked: set[str]) -> bool:
    distribution, _ = distribution_of(source)
    return bool({source.name, f"{distribution}:{source.name}"} & blocked) or ("*" in blocked and distribution != OURS)


def attempt(action: Callable[[], Any]) -> str:
    """Do something of a plugin; what it raises as one line, empty when all went well."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 a plugin may raise anything
        return described(error)
    return ""
