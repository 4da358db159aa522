"""The stock kernels that the tests use, by what they are; apt knows what they are called today."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from efishim.errors import ImageError
from efishim.image.apt import Apt
from efishim.image.deb import DebStore, parse_reference


class Flavour(StrEnum):
    """A kernel of Debian 12: of its stable or its backported series."""

    CLOUD_6_1 = "6.1-cloud"
    GENERIC_6_1 = "6.1-generic"
    RT_6_1 = "6.1-rt"
    CLOUD_6_12 = "6.12-cloud"
    GENERIC_6_12 = "6.12-generic"


_PATTERNS = {
    Flavour.CLOUD_6_1: r"linux-image-6\.1\.0-(\d+)-cloud-amd64-unsigned",
    Flavour.GENERIC_6_1: r"linux-image-6\.1\.0-(\d+)-amd64-unsigned",
    Flavour.RT_6_1: r"linux-image-6\.1\.0-(\d+)-rt-amd64-unsigned",
    Flavour.CLOUD_6_12: r"linux-image-6\.12\.(\d+)\+deb12-cloud-amd64-unsigned",
    Flavour.GENERIC_6_12: r"linux-image-6\.12\.(\d+)\+deb12-amd64-unsigned",
}
_META = {
    Flavour.CLOUD_6_1: "linux-image-cloud-amd64",
    Flavour.GENERIC_6_1: "linux-image-amd64",
    Flavour.RT_6_1: "linux-image-rt-amd64",
    Flavour.CLOUD_6_12: "linux-image-6.12-cloud-amd64",
    Flavour.GENERIC_6_12: "linux-image-6.12-amd64",
}
"""For a system whose package lists have no unsigned kernels of the series."""

I386_6_1 = "debian-installer-12-netboot-i386/usr/lib/debian-installer/images/12/i386/text/debian-installer/i386/linux"
"""For the fixture `debian_kernel`: the 686 kernel of Debian 12's installer, the only 32-bit one that an amd64 system's
package lists have.
"""


class DebianKernels:
    """Fetches kernels into a cache. With `versions_used` a test run can say what it ran on."""

    versions_used: ClassVar[set[str]] = set()
    """One list for the whole test session."""

    def __init__(self, cache: Path, environment: Mapping[str, str]) -> None:
        self._apt = Apt(environment)
        self._store = DebStore(cache, self._apt)
        self._names: dict[Flavour, str] = {}

    def package(self, flavour: Flavour) -> str:
        """Name of the newest package of that kernel that apt can download. Raises ImageError."""
        if flavour not in self._names:
            self._names[flavour] = self._newest(flavour)
        return self._names[flavour]

    def _newest(self, flavour: Flavour) -> str:
        pattern = _PATTERNS[flavour]
        found = [(int(match[1]), name) for name in self._apt.search(pattern) if (match := re.fullmatch(pattern, name))]
        for _, name in sorted(found, reverse=True):
            try:
                self._apt.show(name)
            except ImageError:
                continue  # only mentioned by another package
            return name
        return _META[flavour]

    def kernel(self, flavour: Flavour) -> Path:
        """Path of that kernel. Raises ImageError."""
        return self.fetch(self.package(flavour))

    def fetch(self, package: str) -> Path:
        """Path of the image in a package (`NAME` or `NAME/boot/FILE`). Raises ImageError."""
        fetched = self._store.fetch(parse_reference(f"deb:{package}"))
        self.versions_used.add(f"{fetched.package} {fetched.version}")
        return fetched.path
