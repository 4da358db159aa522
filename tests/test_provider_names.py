"""The core knows no provider by its name, and no provider's file is long.

What counts as knowing: a string that is a provider's name, one of its routes (`NAME/ENTRY`) or the name of its options
(`NAME.OPTION`), an identifier or a module called like it. Docstrings and help texts may give examples; a string that only
has such a word in a sentence decides nothing.

Some names are words with another meaning. `multiboot` and `multiboot2` are entries and formats of an image: by themselves
they say nothing of a provider, in a route they do. `firmware` is a room of the core: identifiers may have it, strings not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import efishim_plugins
import pytest

import efishim
from efishim.image.entries import Entry
from efishim.plugins import load_plugins

CORE = Path(efishim.__file__).parent
PLUGINS = Path(efishim_plugins.__file__).parent
LONGEST = 300
PROVIDERS = {name: {entry.name for entry in provider.entries} for name, provider in load_plugins().providers.items()}
TERMS = {entry.value for entry in Entry}
NAMES = sorted(PROVIDERS.keys() - TERMS)
ROOMS = {path.name for path in CORE.iterdir() if path.is_dir()}
IDENTIFIERS = sorted(set(NAMES) - ROOMS)
ROUTES = sorted(f"{name}/{entry}" for name, entries in PROVIDERS.items() for entry in entries)
OPTIONS = re.compile(rf"(?:{'|'.join(PROVIDERS)})\.[a-z][a-z0-9_-]*(?:=.*)?")

ALLOWED = {
    # (file, what): why it is something else there
    ("platform/machines/hvmlite.py", "hvmlite"): "The machine that the thread calls HVMLite, which any route can be run on.",
    ("lab/abi/boot_params.py", "subarch"): "The field hardware_subarch of boot_params.",
    ("oracle/*.py", "grub"): "The real GRUB, which the oracle makes images with.",
    ("oracle/grub.py", "grub.iso"): "A file that GRUB's own tool makes.",
    ("oracle/boot_flows.py", "*/*"): "Which real loader a route is compared with: a table, for a plugin cannot say so yet.",
    ("oracle/boot_flows.py", "*.*"): "With which options a route is compared with it; likewise.",
    ("oracle/faults.py", "*/*"): "The ways of oracle/boot_flows.py on which a hand-over is spoilt.",
    ("study/*", "*"): "The claims of the thread are about these ways by their names; only the command line imports the study.",
}


def found_in(path: Path) -> Iterator[tuple[int, str]]:
    """(line, what) of everything in a file that is a provider's."""
    tree = ast.parse(path.read_text(), filename=str(path))
    yield from ((1, word) for word in [path.stem] if word in IDENTIFIERS)
    sentences = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        for word in _identifiers(node):
            if word.lower() in IDENTIFIERS:
                yield line, word.lower()
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in sentences:
            text = node.value
            if text in NAMES or text in ROUTES or OPTIONS.fullmatch(text):
                yield line, text


def _identifiers(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
            yield name
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.ImportFrom(module=str(module), names=names):
            yield from (*module.split("."), *(one.name for one in names), *(one.asname for one in names if one.asname))
        case ast.Import(names=names):
            yield from (part for one in names for part in one.name.split("."))


def reasons(file: str, what: str) -> list[tuple[str, str]]:
    """The exceptions that are about this."""
    return [one for one in ALLOWED if fnmatchcase(file, one[0]) and fnmatchcase(what, one[1])]


@cache
def everything() -> list[tuple[str, int, str]]:
    """(file, line, what) of the core. Not when tests are collected, which each worker does."""
    return [
        (path.relative_to(CORE).as_posix(), line, what) for path in sorted(CORE.rglob("*.py")) for line, what in found_in(path)
    ]


def test_the_core_contains_no_providers_name() -> None:
    wrong = [f"{file}:{line}: {what}" for file, line, what in everything() if not reasons(file, what)]
    assert wrong == []


def test_every_exception_is_needed() -> None:
    used = {reason for file, _, what in everything() for reason in reasons(file, what)}
    assert set(ALLOWED) - used == set()


@pytest.mark.parametrize(
    "code",
    [
        'default = "firmware"',
        'if provider.name == "hvmlite": pass',
        'route = "grub/linux32"',
        'both = "multiboot/multiboot"',
        'options["hvmlite.version=1"]',
        "def kexec(): pass",
        "class Lilo: pass",
        "import efishim_plugins.grub",
        "from efishim_plugins.hvmlite import provider",
        "f(subarch=1)",
    ],
)
def test_a_name_would_be_found(code: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(code)
    assert list(found_in(file))


@pytest.mark.parametrize(
    "code",
    [
        '"""For example `hvmlite/pvh`."""',
        'name = "multiboot"',
        'raise ValueError("the firmware said no")',
        "firmware_calls = 1",
    ],
)
def test_what_is_no_providers_name_is_not(code: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(code)
    assert list(found_in(file)) == []


def test_no_file_of_a_plugin_is_long() -> None:
    lines = {path.relative_to(PLUGINS).as_posix(): len(path.read_text().splitlines()) for path in PLUGINS.rglob("*.py")}
    assert {file: count for file, count in lines.items() if count > LONGEST} == {}
    assert len(lines) > len(PROVIDERS)
