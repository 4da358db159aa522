"""`efishim.toml`: kernels, routes, options and comparisons of a project, by name.

It is looked for in the current directory and those above it. Relative paths in it start at its own directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efishim.closest import suggestion
from efishim.errors import UsageError
from efishim.reading import parse_toml, read_file

NAME = "efishim.toml"
LIMIT = 1 << 20
"""Largest file, bytes."""

OPTIONS = {
    **{name: name for name in ("platform", "memory", "until", "timeout", "seed", "epoch", "jobs", "quiet")},
    "append": "cmdline",
    "initrd": "initrds",
    "no-initrd": "no_initrd",
    "max-insns": "max_insns",
    "option": "options",
}
"""Options that have a default in the file: the name there, and that of the parameter."""

REPEATABLE = frozenset({"initrd", "option"})
"""Options that take a list."""

COMPARISON = frozenset({"kernel", "routes"})
"""What a comparison says besides options."""

TABLES = ("kernels", "routes", "options", "comparisons")


@dataclass(frozen=True)
class Comparison:
    """What `efishim compare --use NAME` compares."""

    kernel: str | None
    routes: tuple[str, ...]
    options: Mapping[str, Any]
    """Values by parameters."""


@dataclass(frozen=True)
class Project:
    """The file, or what holds without one."""

    path: Path | None = None
    kernels: Mapping[str, str] = field(default_factory=dict)
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    comparisons: Mapping[str, Comparison] = field(default_factory=dict)

    def kernel(self, name: str) -> str:
        """The kernel of that name; anything else is a path or a reference, as it stands."""
        return self.kernels.get(name, name)

    def expanded(self, routes: Sequence[str]) -> tuple[str, ...]:
        """Routes, with those that a name stands for in its place."""
        return tuple(one for route in routes for one in self.routes.get(route, (route,)))

    def comparison(self, name: str) -> Comparison:
        """A comparison. Raises UsageError."""
        if name not in self.comparisons:
            where = f"{self.path} has" if self.path else f"there is no {NAME} here that could have"
            hint = f"{suggestion(name, self.comparisons)}there are: {', '.join(self.comparisons) or 'none'}"
            raise UsageError(f"{where} no comparison {name!r}", hint=hint)
        return self.comparisons[name]


def find_project(start: Path) -> Project:
    """The project of a directory. Raises UsageError for a file that is damaged or has what is not known."""
    for folder in (start, *start.parents):
        path = folder / NAME
        try:
            there = path.is_file()
        except PermissionError:
            there = False  # in a directory that may not be searched
        if there:
            text = read_file(path, LIMIT, "project file", UsageError).decode("utf-8", "replace")
            return read_project(parse_toml(text, str(path), UsageError), path)
    return Project()


def read_project(content: Mapping[str, Any], path: Path) -> Project:
    """The project in a parsed file. Raises UsageError."""
    _only(content, TABLES, f"{path}")
    for name in TABLES:
        if not isinstance(content.get(name, {}), dict):
            raise UsageError(f"{path}: {name} is not a table")
    kernels = {name: _kernel(value, f"{path}: kernels.{name}", path) for name, value in content.get("kernels", {}).items()}
    routes = {name: _texts(value, f"{path}: routes.{name}") for name, value in content.get("routes", {}).items()}
    options = _options(content.get("options", {}), f"{path}: options", path)
    comparisons = {}
    for name, value in content.get("comparisons", {}).items():
        where = f"{path}: comparisons.{name}"
        if not isinstance(value, dict):
            raise UsageError(f"{where} is not a table")
        kernel = value.get("kernel")
        rest = {key: one for key, one in value.items() if key not in COMPARISON}
        comparisons[name] = Comparison(
            None if kernel is None else kernels.get(str(kernel)) or _kernel(kernel, f"{where}.kernel", path),
            _texts(value.get("routes", []), f"{where}.routes"),
            _options(rest, where, path),
        )
    return Project(path, kernels, routes, options, comparisons)


def _options(values: object, where: str, path: Path) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise UsageError(f"{where} is not a table")
    _only(values, OPTIONS, where)
    for name, value in values.items():
        if isinstance(value, list) and name not in REPEATABLE:
            raise UsageError(f"{where}.{name} must be one value, not a list")
    found = {OPTIONS[name]: _value(value, f"{where}.{name}") for name, value in values.items()}
    line = found.get("cmdline")
    if isinstance(line, str) and line.startswith("@") and not line.startswith("@@"):
        found["cmdline"] = f"@{_path(line[1:], path)}"
    if "initrds" in found:
        found["initrds"] = tuple(_path(one, path) for one in _texts(found["initrds"], f"{where}.initrd"))
    if "options" in found:
        found["options"] = _texts(found["options"], f"{where}.option")
    return found


def _value(value: object, where: str) -> object:
    if isinstance(value, str | bool | int | float):
        return value if isinstance(value, bool) else str(value)
    if isinstance(value, list):
        return _texts(value, where)
    raise UsageError(f"{where} must be a string, a number, a boolean or a list of strings")


def _texts(value: object, where: str) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else [None]
    if not all(isinstance(one, str) and one for one in found):
        raise UsageError(f"{where} must be a list of non-empty strings")
    return tuple(str(one) for one in found)


def _kernel(value: object, where: str, path: Path) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{where} is not a path or a reference such as deb:PACKAGE")
    scheme, colon, _ = value.partition(":")
    return value if colon and "/" not in scheme else _path(value, path)


def _path(value: str, path: Path) -> str:
    return str(path.parent / value)


def _only(table: Mapping[str, Any], known: Sequence[str] | Mapping[str, str], where: str) -> None:
    for name in table:
        if name not in known:
            hint = f"{suggestion(name, known)}there are: {', '.join(known)}"
            raise UsageError(f"{where} has {name!r}, which efishim does not know", hint=hint)
