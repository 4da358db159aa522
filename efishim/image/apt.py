"""Queries and downloads Debian packages with the system's apt, without privileges and without a shell."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from efishim.errors import ImageError
from efishim.image.text import printable

PACKAGE_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
"""Debian Policy, section 5.6.7."""

VERSION = re.compile(r"[A-Za-z0-9.+:~-]+")

SHOW_TIMEOUT = 120
DOWNLOAD_TIMEOUT = 3600
POLL = 0.2
"""Seconds between looks at how much of a package has arrived."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, bytes so far, and bytes in all (0 when that is not known)."""


@dataclass(frozen=True, slots=True)
class Package:
    """What apt knows of one version of a package."""

    name: str
    version: str
    architecture: str
    source: str
    depends: tuple[str, ...]
    """Names of the packages it depends on, of alternatives the first."""
    size: int
    sha256: str


class Apt:
    """Runs apt-cache and apt-get with an environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}

    def show(self, name: str, version: str = "") -> Package:
        """A package by name, the version that apt would install unless one is given. Raises ImageError."""
        wanted = f"{name}={version}" if version else name
        command = [self._find("apt-cache"), "show", "--no-all-versions", wanted]
        try:
            answer = subprocess.run(command, env=self._environment, capture_output=True, timeout=SHOW_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ImageError(f"apt-cache cannot be asked about {wanted}: {error}") from error
        fields = _fields(answer.stdout.decode("utf-8", "replace"))
        if fields.get("Package") != name or "Version" not in fields:
            raise ImageError(
                f"apt knows no package {wanted}",
                hint="run apt-get update as root, or look for its name with apt-cache search",
            )
        size = fields.get("Size", "0")
        return Package(
            name=name,
            version=fields["Version"],
            architecture=fields.get("Architecture", "all"),
            source=fields.get("Source", name).split(" ")[0],
            depends=_depends(fields.get("Pre-Depends", "") + "," + fields.get("Depends", "")),
            size=int(size) if size.isdigit() else 0,
            sha256=fields.get("SHA256", ""),
        )

    def search(self, pattern: str) -> tuple[str, ...]:
        """Names of the packages that match a regular expression, sorted. Raises ImageError."""
        command = [self._find("apt-cache"), "pkgnames"]
        try:
            answer = subprocess.run(command, env=self._environment, capture_output=True, timeout=SHOW_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ImageError(f"apt-cache cannot be asked for package names: {error}") from error
        names = answer.stdout.decode("utf-8", "replace").split()
        return tuple(sorted(name for name in names if re.fullmatch(pattern, name)))

    def download(self, package: Package, directory: Path, progress: Progress) -> Path:
        """Fetch the .deb into a directory that holds nothing else, and check its hash. Raises ImageError."""
        command = [self._find("apt-get"), "download", "-q", f"{package.name}={package.version}"]
        if os.geteuid() == 0:
            # apt's unprivileged user may not write here; root's apt would warn about it each time.
            command[1:1] = ["-o", "APT::Sandbox::User=root"]
        what = f"downloading {package.name} {package.version}"
        log = directory / "apt.log"
        with log.open("wb") as stream:
            try:
                process = subprocess.Popen(
                    command, cwd=directory, env=self._environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
                )
            except OSError as error:
                raise ImageError(f"apt-get cannot be started: {error}") from error
            try:
                self._wait(process, directory, what, package.size, progress)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        text = log.read_text("utf-8", "replace").strip()
        files = sorted(directory.glob("*.deb"))
        if process.returncode or len(files) != 1:
            reason = next((line for line in reversed(text.splitlines()) if line.startswith("E:")), "it gave no reason")
            raise ImageError(
                f"apt-get did not deliver {package.name}: {printable(reason.removeprefix('E:').strip())}",
                hint="check the network, or run apt-get update as root: the archive may have moved on",
            )
        with files[0].open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        if package.sha256 and digest != package.sha256:
            raise ImageError(f"apt-get delivered a {package.name} whose SHA-256 is not that of the package lists")
        return files[0]

    def _wait(self, process: subprocess.Popen[bytes], directory: Path, what: str, size: int, progress: Progress) -> None:
        for _ in range(int(DOWNLOAD_TIMEOUT / POLL)):
            try:
                process.wait(POLL)
            except subprocess.TimeoutExpired:
                progress(what, _bytes_in(directory), size)
            else:
                progress(what, size, size)
                return
        raise ImageError(f"{what} took more than {DOWNLOAD_TIMEOUT // 60} minutes")

    def _find(self, program: str) -> str:
        found = shutil.which(program, path=self._environment.get("PATH"))
        if found is None:
            raise ImageError(
                f"{program} is not installed, so deb: images cannot be fetched",
                hint="give the path of a kernel instead; deb: needs Debian, Ubuntu or another system with apt",
            )
        return found


def _bytes_in(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*.deb"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # apt renames what has arrived
    return total


def _fields(text: str) -> dict[str, str]:
    """The first stanza of apt-cache's answer; continuation lines are left out."""
    fields: dict[str, str] = {}
    for line in text.split("\n\n", maxsplit=1)[0].splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "\t")):
            fields.setdefault(name, value.strip())
    return fields


def _depends(text: str) -> tuple[str, ...]:
    names = []
    for clause in text.split(","):
        match = PACKAGE_NAME.match(clause.split("|")[0].strip())
        if match:
            names.append(match.group())
    return tuple(names)
