"""Which software makes the records: efishim's own code and blobs, Unicorn, the other libraries, the plugins.

Hashed by content and once per process. Nothing is remembered between processes: sizes and times of files can be set by anybody
who can write them, so a hash that is looked up by them says nothing about their contents.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efishim.plugins import Registry

OURS = ("efishim", "efishim_plugins", "efishim_firmware_stubs")
ENGINES = ("unicorn", "capstone")
"""Packages whose machine code decides what a record says: hashed, for a build of one's own has the version of any other."""
LIBRARIES = ("construct", "pefile", "lz4", "zstandard", "lzallright", "msgspec", "pluggy")
"""Taken at their version's word."""

NOT_LOADED = frozenset({".a", ".h", ".pyc", ".md"})
PLACES = {"LIBUNICORN_PATH": "libunicorn*", "LIBCAPSTONE_PATH": "libcapstone*"}
"""Environment variables of the bindings: directories with other libraries, and their names in these."""


@dataclass(frozen=True, slots=True)
class Software:
    """`digest` names it; `seen` tells cheaply whether a file of it was changed since it was hashed."""

    digest: str
    seen: tuple[tuple[int, int, int], ...]

    def unchanged(self) -> bool:
        """Are the files still those that were hashed? This finds mistakes, not attempts to hide a change."""
        try:
            return _seen() == self.seen
        except OSError:
            return False


@lru_cache(maxsize=1)
def software() -> Software | None:
    """That of this process; None when some of it cannot be read."""
    try:
        seen = _seen()
        digest = hashlib.sha256(f"{sys.implementation.name} {sys.version}".encode())
        for name, path in _files():
            digest.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        for library in LIBRARIES:
            digest.update(f"{library} {version(library)}\n".encode())
    except (OSError, PackageNotFoundError):
        return None
    return Software(digest.hexdigest(), seen)


def plugins(registry: Registry, *, observers: bool) -> str | None:
    """Names the plugins that were loaded, those of other packages by their files; None when a record made with them must not
    be used again: their files cannot be told, or an observer among them may do more than add to the record.
    """
    lines = []
    for plugin, identity in registry.loaded():
        if not identity.distribution or (identity.foreign and not identity.sha256):
            return None
        if identity.foreign and observers and "efishim_observers" in plugin.hooks:
            return None
        lines.append(f"{identity.name} {identity.distribution} {identity.version} {identity.sha256}\n")
    return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def _seen() -> tuple[tuple[int, int, int], ...]:
    found = (path.stat() for _, path in _files())
    return tuple((one.st_size, one.st_mtime_ns, one.st_ino) for one in found)


def _files() -> Iterator[tuple[str, Path]]:
    """What is hashed, in a fixed order, with names that do not depend on where it is installed. Raises OSError."""
    for package in (*OURS, *ENGINES):
        root = _root(package)
        for path in sorted(root.rglob("*")):
            if path.suffix not in NOT_LOADED and "__pycache__" not in path.parts and path.is_file():
                yield f"{package}/{path.relative_to(root).as_posix()}", path
    for variable, names in PLACES.items():
        chosen = os.environ.get(variable)
        for path in sorted(Path(chosen).glob(names)) if chosen else ():
            yield f"{variable}/{path.name}", path


def _root(package: str) -> Path:
    """Where a package lies, without importing it: Unicorn's import takes longer than all of this."""
    found = find_spec(package)
    if found is None or not found.origin:
        raise FileNotFoundError(package)
    return Path(found.origin).parent
