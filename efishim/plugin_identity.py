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
"""Most files of a plugin that are hashed. One with more has no hash: the rest could be anything."""
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
    """Over the files of the top-level Python package that the plugin's module belongs to, or over the module's one file. Of a
    namespace package all portions count, whoever brought them: a plugin can import from each. Empty when its files cannot be
    found or read, or are too many to be looked at.
    """
    import hashlib  # noqa: PLC0415 - a hundredth of a second that --help saves

    digest = hashlib.sha256()
    try:
        for name, path in _files(module_of(plugin)):
            digest.update(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n".encode())
    except (OSError, UnicodeError):
        return ""
    return digest.hexdigest()


def _files(module: str) -> list[tuple[str, Path]]:
    """What is hashed, with names that do not depend on where it is installed. Raises FileNotFoundError when the module is in
    none of the places where its package is said to be.
    """
    package = sys.modules.get(module.partition(".")[0])
    own = getattr(sys.modules.get(module), "__file__", None)
    source = getattr(package, "__file__", None)
    if source:
        root = Path(source)
        return _below(root.parent) if root.name == "__init__.py" else [(root.name, root)]
    # A namespace package has no file of its own, and portions in several folders (PEP 420).
    found = [one for place in getattr(package, "__path__", ()) for one in _below(Path(place))]
    if own is None or Path(own) not in {path for _, path in found}:
        raise FileNotFoundError(module)
    if len(found) > FILE_LIMIT:
        raise OSError(f"{module} has more than {FILE_LIMIT} files")
    return found


def _below(root: Path) -> list[tuple[str, Path]]:
    paths = sorted(path for path in root.rglob("*") if path.is_file() and not IGNORED & set(path.relative_to(root).parts))
    if len(paths) > FILE_LIMIT:
        raise OSError(f"{root} has more than {FILE_LIMIT} files")
    return [(path.relative_to(root).as_posix(), path) for path in paths]
