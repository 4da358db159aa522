"""`deb:PACKAGE`: extracts images from Debian packages, which are fetched with apt and cached.

A reference is `deb:PACKAGE[=VERSION][/PATTERN]`. Without a pattern the package's kernel is taken; a meta-package is
followed to the packages of the same source that it depends on. What was unpacked is checked against its hash each time
it is used, and several processes may ask for the same package at once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from efishim.errors import ImageError, UsageError
from efishim.image.apt import PACKAGE_NAME, VERSION, Apt, Package, Progress
from efishim.image.archive import extract
from efishim.image.cachedir import write_atomically
from efishim.temporary import folder

PREFIX = "deb:"

IMAGE_PATTERNS = (
    "boot/vmlinuz*",
    "usr/lib/modules/*/vmlinuz",
    "lib/modules/*/vmlinuz",
    "boot/xen-*.gz",
    "boot/gnumach*",
    "boot/memtest86+x64.efi",
    "boot/memtest*",
    "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
)
"""What counts as the image of a package when the reference names no file; the first pattern that matches decides."""

COMPANION_PATTERNS = ("boot/System.map*", "boot/config-*", "usr/lib/modules/*/System.map", "usr/lib/modules/*/config")
"""Files that are unpacked with the image. They and kernels lie in /boot, or with the modules."""

LATER = frozenset({"base", "headers", "modules"})
"""Words in the names of dependencies that are looked into last: they are large, and rarely hold a kernel."""

MAX_PACKAGES = 8
"""Most packages that are looked into for one reference."""

APT_STATE = ("/var/lib/apt/lists", "/etc/apt", "/etc/apt/sources.list.d", "/etc/apt/preferences.d")
"""When none of these changed, apt's answer did not either."""


@dataclass(frozen=True, slots=True)
class DebReference:
    """A parsed `deb:` reference; `version` and `pattern` are empty when not given."""

    package: str
    version: str = ""
    pattern: str = ""

    def __str__(self) -> str:
        version = f"={self.version}" if self.version else ""
        return f"{PREFIX}{self.package}{version}{'/' + self.pattern if self.pattern else ''}"

    @property
    def patterns(self) -> tuple[str, ...]:
        """What to look for, in order of preference."""
        return (self.pattern,) if self.pattern else IMAGE_PATTERNS


class FetchedFile(msgspec.Struct, frozen=True):
    """A file out of a package: its path in the package, and its hash."""

    name: str
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What was unpacked from one version of a package."""

    package: str
    version: str
    files: tuple[FetchedFile, ...]


class Resolution(msgspec.Struct, frozen=True):
    """Where a reference led, while apt's state was `state`."""

    state: str
    directory: str
    image: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image out of a package."""

    package: str
    """The package that holds it, which need not be the one that was asked for."""
    version: str
    path: Path
    companions: tuple[Path, ...]
    """Everything else that was unpacked: System.map, config."""


def parse_reference(text: str) -> DebReference:
    """Parse `deb:PACKAGE[=VERSION][/PATTERN]`. Raises UsageError."""
    body, slash, pattern = text.removeprefix(PREFIX).partition("/")
    name, equals, version = body.partition("=")
    usable = text.startswith(PREFIX) and PACKAGE_NAME.fullmatch(name) and bool(pattern) == bool(slash)
    if not usable or (equals and not VERSION.fullmatch(version)) or ".." in pattern.split("/"):
        raise UsageError(
            f"{text!r} is not a package reference", hint="write deb:PACKAGE, deb:PACKAGE=VERSION or deb:PACKAGE/boot/FILE"
        )
    return DebReference(name, version, pattern)


def no_progress(what: str, done: int, total: int) -> None:
    """A Progress that reports nothing."""


class DebStore:
    """Images out of packages, kept below a cache directory."""

    def __init__(self, cache: Path, apt: Apt, *, apt_state: Sequence[str] = APT_STATE) -> None:
        self._root = cache / "debs"
        self._apt = apt
        self._apt_state = apt_state

    def fetch(self, reference: DebReference, progress: Progress = no_progress) -> Fetched:
        """The image that a reference names. Raises ImageError when apt cannot deliver it or it holds no such file."""
        known = self.known(reference)
        if known is not None:
            return known
        waiting = [(reference.package, reference.version)]
        seen: list[str] = []
        while waiting and len(seen) < MAX_PACKAGES:
            name, version = waiting.pop(0)
            try:
                package = self._apt.show(name, version)
            except ImageError:
                if not seen:
                    raise
                continue  # a dependency that only exists as a virtual package
            seen.append(name)
            directory, manifest = self._unpacked(package, reference.patterns, progress)
            image = _choose(manifest, reference)
            if image is not None:
                self._remember(reference, directory, image)
                return _fetched(directory, manifest, image)
            waiting += [(n, "") for n in self._related(package) if n not in seen]
        raise ImageError(
            f"{reference} holds no kernel that efishim knows" if not reference.pattern else f"{reference} holds no such file",
            hint=f"looked into {', '.join(seen)}; name the file: deb:PACKAGE/boot/FILE",
        )

    def _related(self, package: Package) -> Iterator[str]:
        """Dependencies that may hold what a meta-package stands for: those whose names start alike."""
        stem = package.name.split("-")[0]
        found = [name for name in package.depends if name.split("-")[0] == stem]
        return iter(sorted(found, key=lambda name: not LATER.isdisjoint(name.split("-"))))

    def _unpacked(self, package: Package, patterns: tuple[str, ...], progress: Progress) -> tuple[Path, Manifest]:
        """(directory, manifest) of a package, downloaded when it is not there or damaged."""
        wanted = (*patterns, *COMPANION_PATTERNS)
        digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:8]
        directory = self._root / f"{package.name}_{_quoted(package.version)}_{package.architecture}-{digest}"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            with _locked(self._root / f".{directory.name}.lock"):
                manifest = _valid_manifest(directory)
                if manifest is None:
                    manifest = self._download(package, patterns, directory, progress)
        except OSError as error:
            raise ImageError(
                f"the package cache {self._root} cannot be written: {error.strerror or error}",
                hint="set EFISHIM_CACHE to a directory that you may write to",
            ) from error
        return directory, manifest

    def _download(self, package: Package, patterns: Sequence[str], directory: Path, progress: Progress) -> Manifest:
        with folder(".new-", self._root) as temporary:
            arrived, content = temporary / "deb", temporary / "content"
            arrived.mkdir()
            content.mkdir()
            deb = self._apt.download(package, arrived, progress)
            progress(f"unpacking {package.name}", 0, 0)
            names = extract(deb, patterns, content, companions=COMPANION_PATTERNS)
            files = tuple(FetchedFile(name, _sha256(content / name)) for name in names)
            manifest = Manifest(package.name, package.version, files)
            (content / "manifest.json").write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
            if directory.exists():
                shutil.rmtree(directory)  # damaged, or we would not be here; the lock keeps others out
            content.rename(directory)
        return manifest

    def _resolution_path(self, reference: DebReference) -> Path:
        return self._root / "references" / f"{hashlib.sha256(str(reference).encode()).hexdigest()[:32]}.json"

    def at_hand(self, reference: DebReference) -> Fetched | None:
        """The image that a reference with a version names, where it was fetched before; apt is not asked."""
        known = self.known(reference)
        if known is not None or not reference.version:
            return known
        stem = f"{reference.package}_{_quoted(reference.version)}_"
        for directory in sorted(self._root.glob(f"{stem}*")):
            manifest = _valid_manifest(directory)
            image = None if manifest is None else _choose(manifest, reference)
            if manifest is not None and image is not None:
                return _fetched(directory, manifest, image)
        return None

    def _remember(self, reference: DebReference, directory: Path, image: str) -> None:
        found = Resolution(self._state(), directory.name, image)
        try:
            write_atomically(self._resolution_path(reference), msgspec.json.encode(found))
        except OSError:
            return  # it only saves asking apt again

    def known(self, reference: DebReference) -> Fetched | None:
        """Where the reference led last time, when apt's lists are the same and the files are undamaged."""
        try:
            found = msgspec.json.decode(self._resolution_path(reference).read_bytes(), type=Resolution)
        except (OSError, msgspec.MsgspecError):
            return None
        if found.state != self._state() or "/" in found.directory:
            return None
        directory = self._root / found.directory
        manifest = _valid_manifest(directory)
        if manifest is None or all(file.name != found.image for file in manifest.files):
            return None
        return _fetched(directory, manifest, found.image)

    def _state(self) -> str:
        times = []
        for path in self._apt_state:
            try:
                times.append(str(os.stat(path).st_mtime_ns))
            except OSError:
                times.append("-")
        return " ".join(times)


def _quoted(version: str) -> str:
    return version.replace(":", "%3a").replace("/", "%2f")


def _choose(manifest: Manifest, reference: DebReference) -> str | None:
    for pattern in reference.patterns:
        matches = [file.name for file in manifest.files if fnmatchcase(file.name, pattern)]
        if len(matches) > 1 and reference.pattern:
            raise ImageError(f"{reference} names {len(matches)} files: {', '.join(matches[:8])}")
        if matches:
            return matches[0]
    return None


def _fetched(directory: Path, manifest: Manifest, image: str) -> Fetched:
    others = tuple(directory / file.name for file in manifest.files if file.name != image)
    return Fetched(manifest.package, manifest.version, directory / image, others)


def _valid_manifest(directory: Path) -> Manifest | None:
    """The manifest of an unpacked package whose files are all there and unchanged."""
    try:
        manifest = msgspec.json.decode((directory / "manifest.json").read_bytes(), type=Manifest)
        if any(_sha256(directory / file.name) != file.sha256 for file in manifest.files):
            return None
    except (OSError, msgspec.MsgspecError, ValueError):
        return None
    return manifest


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out: who waits finds the work done. The lock goes with the process."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def system_store(cache: Path, environment: Mapping[str, str]) -> DebStore:
    """The store that uses the system's apt."""
    return DebStore(cache, Apt(environment))
