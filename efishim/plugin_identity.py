"""Distribution, version and hash of a plugin, so that a record can name what took part in its run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

OURS = "efishim"
"""The distribution that the shipped plugins come with; its version stands beside `tool`."""

FILE_LIMIT = 4096
"""Most files of a plugin that are hashed."""
IGNORED = frozenset({"__pycache__"})


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a plugin is."""

    name: str
    """Of its entry point."""
    distribution: str
    """The package that it was installed with; empty for a plugin that no package brought."""
    version: str
    sha256: str
    """Over the names and contents of the files of its Python package, in the order of their names."""

    @property
    def foreign(self) -> bool:
        """Does it come with another installed package than efishim's own?"""
        return self.distribution not in ("", OURS)


def distribution_of(source: Any) -> tuple[str, str]:
    """(name, version) of the distribution of an entry point, empty where there is none."""
    return _name_and_version(getattr(source, "dist", None))


@lru_cache(maxsize=64)
def _name_and_version(distribution: Any) -> tuple[str, str]:
    """Kept, since importlib.metadata reads and parses the file of a distribution each time it is asked."""
    try:
        return str(getattr(distribution, "name", "") or ""), str(getattr(distribution, "version", "") or "")
    except Exception:  # noqa: BLE001 what stands in the file is anybody's
        return "", ""


def module_of(plugin: object) -> str:
    """Name of the module that a plugin is, or is made in."""
    return plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__


def sha256_of(plugin: object) -> str:
    """Over the files of the top-level Python package that the plugin's module belongs to, or over the module's one file.
    Empty when its files cannot be found or read.
    """
    import hashlib  # noqa: PLC0415 - a hundredth of a second that --help saves

    module = module_of(plugin)
    top = module.partition(".")[0]
    source = getattr(sys.modules.get(top), "__file__", None) or getattr(sys.modules.get(module), "__file__", None)
    if not source:
        return ""
    root = Path(source)
    digest = hashlib.sha256()
    try:
        files = [root]
        if root.name == "__init__.py":
            root = root.parent
            files = sorted(path for path in root.rglob("*") if path.is_file() and not IGNORED & set(path.parts))[:FILE_LIMIT]
        for path in files:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            name = path.relative_to(root).as_posix() if path != root else path.name
            digest.update(f"{content}  {name}\n".encode())
    except (OSError, UnicodeError):
        return ""
    return digest.hexdigest()
