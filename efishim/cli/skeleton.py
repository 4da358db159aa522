"""Packages of plugins made from the templates in skeletons/, which are files of the package with `$name` in them."""

from __future__ import annotations

import keyword
import os
import re
import shutil
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from efishim import provider
from efishim.errors import UsageError
from efishim.image.entries import Entry

if TYPE_CHECKING:
    from efishim.plugins import Registry

NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
LONGEST = 40
PREFIX = "efishim-"
TAKEN = frozenset({"plugins", "firmware-stubs"})
"""`efishim_plugins` and `efishim_firmware_stubs` are efishim's own packages."""

COMMON: Mapping[str, str] = {
    "pyproject.toml": "common/pyproject.toml.txt",
    "README.md": "common/README.md.txt",
    ".gitignore": "common/gitignore.txt",
    ".github/workflows/tests.yml": "common/tests.yml.txt",
}
FILES: Mapping[str, Mapping[str, str]] = {
    "provider": {
        "{package}/__init__.py": "provider/init.py.txt",
        "{package}/provider.py": "provider/provider.py.txt",
        "tests/test_{module}.py": "provider/test_provider.py.txt",
    },
    "entry": {
        "{package}/__init__.py": "entry/init.py.txt",
        "{package}/entry.py": "entry/entry.py.txt",
        "{package}/provider.py": "entry/provider.py.txt",
        "tests/test_{module}.py": "entry/test_entry.py.txt",
    },
}
"""Files of the package by kind, with the template of each."""
SUMMARIES: Mapping[str, str] = {
    "provider": "The {name} table, a producer of boot information",
    "entry": "The entry {name} of 32-bit ELF files, and a provider that drives it",
}


@dataclass(frozen=True, slots=True)
class Names:
    """What a package and the things in it are called."""

    name: str
    """On the command line: `my-vmm`."""

    @classmethod
    def of(cls, name: str, registry: Registry) -> Names:
        """The names for what a user typed; `efishim-my-vmm` is taken as `my-vmm`. Raises UsageError."""
        short = name.removeprefix(PREFIX)
        if not NAME.fullmatch(short) or len(short) > LONGEST:
            raise UsageError(
                f"{name!r} is not a name for a plugin",
                hint=f"a letter, then up to {LONGEST - 1} lower-case letters, digits and single dashes: my-vmm",
            )
        if short in TAKEN:
            raise UsageError(f"efishim has a package efishim_{short.replace('-', '_')} of its own")
        if short in registry.providers or short in registry.entries or short in frozenset(Entry):
            raise UsageError(f"there is a plugin with {short} already", hint="choose a name that users can tell from it")
        return cls(short)

    @property
    def distribution(self) -> str:
        """The package as pip knows it."""
        return f"{PREFIX}{self.name}"

    @property
    def module(self) -> str:
        """The name as a part of Python names."""
        return self.name.replace("-", "_")

    @property
    def words(self) -> dict[str, str]:
        """What stands for each `$word` of a template."""
        return {
            "name": self.name,
            "distribution": self.distribution,
            "package": f"efishim_{self.module}",
            "module": self.module,
            "cls": _class("".join(part.capitalize() for part in self.name.split("-"))),
            "magic": f"{zlib.crc32(self.name.encode()):08X}",  # any number will do, but not the same one for everybody
        }


def _class(name: str) -> str:
    """A name for a class that is neither a word of Python's nor a name that the templates import."""
    imported = {"ProviderError", "ProviderSuite", "Ram", "RouteError", "Arena"}
    return f"{name}Provider" if keyword.iskeyword(name) or name in imported or hasattr(provider, name) else name


def write(names: Names, kind: str, parent: Path) -> Path:
    """Make the package in a folder of its own below `parent`, all of it or nothing. Raises UsageError when the folder exists or
    cannot be made.
    """
    target = parent / names.distribution
    if os.path.lexists(target):
        raise UsageError(f"{target} exists already", hint="nothing is overwritten: choose another name, or move it away")
    words = names.words
    words["summary"] = SUMMARIES[kind].format(**words)
    words["usage"] = f"    efishim run -p {names.name}"
    try:
        with tempfile.TemporaryDirectory(prefix=f".{names.distribution}-", dir=parent) as temporary:
            made = Path(temporary, names.distribution)
            for path, template in {**COMMON, **FILES[kind]}.items():
                _put(made / path.format(**words), _filled(template, words))
            _put(made / words["package"] / "py.typed", "")
            _move(made, target)
    except OSError as error:
        raise UsageError(f"{target} cannot be made: {error.strerror or error}") from error
    return target


def _filled(template: str, words: Mapping[str, str]) -> str:
    text = resources.files("efishim.cli").joinpath("skeletons", *template.split("/")).read_text(encoding="utf-8")
    return Template(text).substitute(words)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _move(made: Path, target: Path) -> None:
    """Raises OSError if the target has appeared in the meantime."""
    target.mkdir()  # fails when it is there; what is moved into it is ours alone
    for one in sorted(made.iterdir()):
        shutil.move(one, target / one.name)
