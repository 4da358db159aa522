"""Calls plugins so that what they do wrong is one sentence: the plugin, the member, the failure, file and line."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import traceback
import types
import typing
from collections.abc import Callable, Mapping
from inspect import getattr_static
from pathlib import Path
from typing import Any, TypeVar

import efishim
from efishim.errors import EfishimError, ProviderError

OURS = str(Path(efishim.__file__).parent)
SAID = 300
"""Most characters of what an exception says."""

RETURNS: Mapping[str, Mapping[str, str]] = {
    "efishim_providers": {
        "produce": "Handover",
        "read_back": "BootInformation",
        "cpu_state": "CpuState",
        "entry_state": "CpuState",
        "runs_on": "str",
        "refuses": "str",
        "structures": "Iterable[Structure]",
        "keeps_boot_services": "bool",
    },
    "efishim_platforms": {"build": "PlatformFacts"},
    "efishim_loaders": {"configuration": "Iterable[LoaderFile]", "assemble": "Iterable[LoaderFile]"},
    "efishim_entries": {"find": "Door", "load": "LoadPlan", "check": "None"},
    "efishim_image_sources": {"find": "FoundImage"},
    "efishim_reports": {"render": "str"},
}
"""What the methods have to return (efishim/provider/interfaces.py, defaults.py)."""

ATTRIBUTES: Mapping[str, str] = {
    "name": "str",
    "summary": "str",
    "structure": "str",
    "limits": "Iterable[str]",
    "entries": "Iterable[Entry]",
    "aliases": "Iterable[str]",
    "form": "str",
    "follows": "str",
    "leaves_out": "Iterable[str]",
    "requirements": "Iterable[Requirement]",
    "options": "Iterable[OptionHelp]",
    "specifications": "Iterable[Specification]",
    "module_alignment": "int",
    "ways": "Iterable[LoaderWay]",
    "programs": "Iterable[Program]",
}
"""Of what types the attributes are; others may be anything."""

ELSEWHERE = frozenset({"PlatformFacts", "Door", "LoadPlan"})
"""Types of rooms that the guard does not import; it knows them by name."""

Result = TypeVar("Result")


class PluginError(ProviderError):
    """A plugin raised what it must not raise, or returned what it must not return."""


def sentence(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:SAID]}" if text else type(error).__name__


def place(error: BaseException, module: str = "") -> str:
    """` (FILE, line N)` where it was raised: the last frame in the plugin's package, else the last that is not efishim's own.
    Empty when it was raised nowhere, as an import that finds no file.
    """
    frames = traceback.extract_tb(error.__traceback__)
    source = getattr(sys.modules.get(module.partition(".")[0]), "__file__", None) or "?"
    package = source.removesuffix("__init__.py")
    for wanted in (
        lambda name: name.startswith(package),
        lambda name: not name.startswith((OURS, "<")) and "importlib" not in name,
    ):
        for frame in reversed(frames):
            if wanted(frame.filename):
                return f" ({_short(frame.filename)}, line {frame.lineno})"
    return ""


def _short(filename: str) -> str:
    """The part of a file's name that does not depend on where its package is installed."""
    for folder in sorted(filter(None, sys.path), key=len, reverse=True):
        if filename.startswith(f"{folder}/"):
            return filename[len(folder) + 1 :]
    return "/".join(Path(filename).parts[-2:])


def described(error: BaseException, module: str = "") -> str:
    """What was raised, and where."""
    return sentence(error) + place(error, module)


def guarded_call(plugin: str, member: str, action: Callable[[], Result], module: str = "") -> Result:
    """Call into a plugin. Raises PluginError for any exception except efishim's own errors, which are sentences already."""
    try:
        return action()
    except EfishimError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, MemoryError):
            raise
        raise PluginError(f"the plugin {plugin} failed in {member}: {described(error, module)}") from error


class Guarded:
    """An object of a plugin under the name by which it is known; each attribute and method is guarded, and looked at."""

    def __init__(self, hook: str, name: str, plugin: str, inner: object) -> None:
        self._hook = hook
        self.name = name
        self._plugin = plugin
        self._inner = inner

    def __getattr__(self, attribute: str) -> Any:
        inner = self._inner
        if attribute.startswith("__") or not has(inner, attribute):
            raise AttributeError(attribute)
        member = f"{type(inner).__name__}.{attribute}"
        value = self._call(member, lambda: getattr(inner, attribute))
        expected = RETURNS.get(self._hook, {}).get(attribute)
        if expected is None:
            self._check(member, value, ATTRIBUTES.get(attribute), "is", inner)
            return value
        if not callable(value):
            raise PluginError(f"the plugin {self._plugin} has a {member} that is not a method{_where(inner)}")

        def call(*arguments: Any, **named: Any) -> Any:
            def action() -> Any:
                result = value(*arguments, **named)
                # A generator runs when it is read, and then out of sight.
                return tuple(result) if expected.startswith("Iterable") and inspect.isgenerator(result) else result

            result = self._call(member, action)
            self._check(member, result, expected, "returned", value)
            return result

        return call

    def _call(self, member: str, action: Callable[[], Result]) -> Result:
        return guarded_call(self._plugin, member, action, type(self._inner).__module__)

    def _check(self, member: str, value: object, expected: str | None, verb: str, made_by: object) -> None:
        found = None if expected is None else problem(value, expected)
        if found:
            raise PluginError(f"the plugin {self._plugin} is wrong in {member}: it {verb} {found}{_where(made_by)}")


def has(thing: object, attribute: str) -> bool:
    """Is the attribute there? It is not evaluated: a property may import a whole room."""
    try:
        getattr_static(thing, attribute)
    except AttributeError:
        return False
    return True


def _where(thing: object) -> str:
    """Where a method is written, or the class of an object."""
    code = getattr(getattr(thing, "__func__", thing), "__code__", None)
    if code is not None:
        return f" ({_short(code.co_filename)}, line {code.co_firstlineno})"
    module = sys.modules.get(type(thing).__module__)
    source = getattr(module, "__file__", None)
    return f" ({_short(source)})" if source else ""


def problem(value: object, expected: str) -> str | None:
    """What is wrong with the type of a value, None when nothing is. `expected` is a type of efishim.provider by its name,
    `str`, `int`, `bool`, or `Iterable[...]` of one.
    """
    if expected.startswith("Iterable["):
        if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
            return f"{_shown(value)} instead of a tuple"
        kind = expected.removeprefix("Iterable[").removesuffix("]")
        wrong = (f"an item that is {found}" for item in typing.cast(Any, value) if (found := problem(item, kind)))
        return next(wrong, None)
    if expected == "None":
        return None if value is None else f"{_shown(value)} instead of None"
    if expected in ELSEWHERE:
        return None if type(value).__name__ == expected else f"{_shown(value)} instead of {expected}"
    kinds: dict[str, type] = {"str": str, "int": int, "bool": bool}
    kind_of = kinds.get(expected) or getattr(_provider(), expected)
    return _misfit(value, kind_of)


def _provider() -> Any:

    return sys.modules["efishim.provider"]


def _misfit(value: object, kind: Any) -> str | None:
    """A value against a type: of a record of ours each field, too."""
    if kind is Any or isinstance(kind, str | TypeVar):
        return None
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if any(_misfit(value, one) is None for one in inside):
            return None
        return f"{_shown(value)} instead of {kind}"
    if origin is tuple:
        if not isinstance(value, tuple | list):
            return f"{_shown(value)} instead of a tuple"
        each = inside[0] if len(inside) == 2 and inside[1] is Ellipsis else None
        wanted = [each] * len(value) if each is not None else list(inside)
        return next((found for item, one in zip(value, wanted, strict=False) if (found := _misfit(item, one))), None)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            return f"{_shown(value)} instead of a mapping"
        return next((found for item in value.values() if (found := _misfit(item, inside[1]))), None)
    if origin is not None or not isinstance(kind, type):
        return None
    if not isinstance(value, kind):
        return f"{_shown(value)} instead of {kind.__name__}"
    if not dataclasses.is_dataclass(kind):
        return None
    for name, hint in _hints(kind).items():
        found = _misfit(getattr(value, name), hint)
        if found:
            return f"{kind.__name__} whose {name} is {found}"
    return None


def _hints(kind: type) -> dict[str, Any]:
    # Types that are imported for type checkers only stand for anything.
    missing = {"Layout": object}
    return {name: hint for name, hint in typing.get_type_hints(kind, None, missing).items() if not name.startswith("_")}


def _shown(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
