"""The reference of the Python API: what `import efishim` and `efishim.testing` offer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from types import ModuleType

import efishim
from efishim import testing

PUBLIC: dict[ModuleType, tuple[str, ...]] = {
    efishim: ("run", "diff", "Comparison", "Interrupted", "EfishimError"),
    testing: ("run", "conformance", "check_provider", "ProviderSuite", "Subject", "Ram", "facts"),
}
"""Names by module, in the order of the page. `Record` has a page of its own."""


def python_api(head: str) -> str:
    """The whole page; `head` stands at its top."""
    parts = [
        head,
        "# Python API\n\n"
        "These names are stable; other modules of the package are not. [Use efishim from a program or a test](../library.md) "
        "shows them at work, and [The record](record.md) has the fields of `efishim.Record`.\n\n",
    ]
    for module, names in PUBLIC.items():
        parts.append(f"## {module.__name__}\n\n")
        parts += [_member(module, name) for name in names]
    return "".join(parts).rstrip() + "\n"


def _member(module: ModuleType, name: str) -> str:
    thing = getattr(module, name)
    words = inspect.cleandoc(thing.__doc__ or "")
    if inspect.isfunction(thing):
        return f"### {module.__name__}.{name}\n\n```python\n{_signature(name, thing)}\n```\n\n{words}\n\n"
    members = "".join(_rows(thing))
    table = f"| member | meaning |\n|---|---|\n{members}\n" if members else ""
    return f"### {module.__name__}.{name}\n\n{words}\n\n{table}"


def _signature(name: str, function: object) -> str:
    """One parameter a line, as the source has it."""
    assert callable(function)
    signature = inspect.signature(function)
    lines, star = [], False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not star:
            star = True
            lines.append("    *,")
        stars = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
        default = "" if one.default is one.empty else f" = {_default(one.default)}"
        lines.append(f"    {stars}{one.name}: {one.annotation}{default},")
        star = star or one.kind is one.VAR_POSITIONAL
    return "\n".join([f"def {name}(", *lines, f") -> {signature.return_annotation}"])


def _default(value: object) -> str:
    return "{}" if isinstance(value, Mapping) and not value else repr(value)


def _rows(thing: type) -> list[str]:
    """Properties, methods and members that have a docstring."""
    rows = []
    if issubclass(thing, Enum):
        return [f"| `{one.name}` | `{one.value}` |\n" for one in thing]
    for member, value in vars(thing).items():
        inner = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", None) or value
        if member.startswith(("_", "test_")) or not inspect.isfunction(inner) or not inner.__doc__:
            continue
        signature = str(inspect.signature(inner)).replace("'", "").replace("(self, ", "(").replace("(self)", "()")
        shown = f"{member}: {inspect.signature(inner).return_annotation}" if isinstance(value, property) else member + signature
        rows.append(
            f"| `{shown.replace('|', chr(92) + '|')}` | {' '.join(inner.__doc__.split()).replace('|', chr(92) + '|')} |\n"
        )
    return rows
