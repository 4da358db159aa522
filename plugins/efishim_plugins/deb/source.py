"""Fetches the kernel of a Debian package with the system's own apt (efishim/image/deb.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from efishim.provider import FoundImage


class Deb:
    """Debian's archive, as the system's apt is set up to reach it."""

    name = "deb"
    summary = "the kernel of a Debian package, fetched with apt, unpacked and cached"
    form = "deb:PACKAGE[=VERSION][/FILE]"

    def find(self, reference: str, cache: Path, say: Callable[[str], None]) -> FoundImage:
        """The kernel of a package. Its label names the version found, so that the same kernel can be fetched again."""
        from efishim.image.deb import DebReference, parse_reference, system_store

        wanted = parse_reference(reference)

        def show(what: str, done: int, total: int) -> None:
            say(f"{what}, {10 * done // total * 10} %" if total else what)

        found = system_store(cache, os.environ).fetch(wanted, show)
        return FoundImage(found.path, str(DebReference(found.package, found.version, wanted.pattern)))
