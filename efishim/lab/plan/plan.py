"""The plan: the complete input of a run, as one immutable value that can be pickled and sent to another process.

A run is a pure function from a plan to a record. Files are named by path together with the hash that they had when the
plan was made, so that a worker that finds something else says so instead of measuring it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from msgspec import UNSET, UnsetType

from efishim.closest import suggestion
from efishim.errors import ImageError, UsageError
from efishim.firmware.profile import ABSENT
from efishim.image.opened import MAX_IMAGE
from efishim.lab.plan.loader_disk import LoaderPlan
from efishim.lab.record import DumpUse, File, Milestone, Options, RouteName, SetupDataUse, ShimPlace
from efishim.reading import read_file

MIB = 1 << 20
GIB = 1 << 30

DEFAULT_MEMORY = 512 * MIB
MEMORY_RANGE = (64 * MIB, 64 * GIB)
DEFAULT_CMDLINE = b"console=ttyS0"
DEFAULT_MAX_INSNS = 20_000_000_000
DEFAULT_TIMEOUT = 900.0
DEFAULT_EPOCH = 1_460_000_000
"""2016-04-07T03:33:20Z, the week of the thread."""

BLOB_LIMIT = MAX_IMAGE
"""Largest image or ramdisk, bytes. Larger files are refused before they are read."""

MAP_LIMIT = 16 << 20
"""Largest System.map, bytes."""

CMDLINE_LIMIT = 64 << 10
"""Longest command line, bytes. x86 Linux takes 2047 (COMMAND_LINE_SIZE); longer ones test what it does about it."""

_SIZE = re.compile(r"^(\d{1,12})([kKmMgGtT]?)(?:i?[bB])?$", re.ASCII)
_COUNT = re.compile(r"^(\d{1,15})([kKmMgG]?)$", re.ASCII)
_THOUSANDS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_SHIFT = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_OPTION = re.compile(r"^([a-z][a-z0-9_-]*)\.([a-z][a-z0-9_-]*)=(.*)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Blob:
    """A file that takes part in a run: named by `path` and read when the run starts, or embedded as `data`."""

    label: str
    """As the user named it: a path, `deb:PACKAGE`, `embedded:probe`."""
    sha256: str
    size: int
    path: str | None = None
    data: bytes | None = None
    command_line: bytes = b""
    """Of a module that has one of its own."""

    @classmethod
    def from_file(cls, path: str | Path, *, label: str = "", what: str = "image", limit: int = BLOB_LIMIT) -> Blob:
        """Hash a file. Raises ImageError with the reason when it cannot be read or is larger than `limit`."""
        data = read_bounded(path, what, limit)
        return cls(label or str(path), hashlib.sha256(data).hexdigest(), len(data), path=str(path))

    @classmethod
    def embedded(cls, label: str, data: bytes) -> Blob:
        """Bytes that travel with the plan."""
        return cls(label, hashlib.sha256(data).hexdigest(), len(data), data=data)

    @classmethod
    def of_large_file(cls, path: str, *, what: str) -> Blob:
        """Hash a regular file that is not read into memory. Raises ImageError with the reason when it cannot be read."""
        sha256, size = hash_file(path, what)
        return cls(path, sha256, size, path=path)

    def require_unchanged(self) -> None:
        """Raises ImageError when a large file is not what it was when the plan was made."""
        if self.path is not None and hash_file(self.path, "file") != (self.sha256, self.size):
            raise ImageError(f"{self.label} changed since the plan was made", hint="start the run again")

    def read(self) -> bytes:
        """The bytes. Raises ImageError when the file is not what it was when the plan was made."""
        if self.data is not None:
            return self.data
        if self.path is None:
            raise ImageError(f"{self.label} has neither a path nor embedded bytes")
        data = read_bounded(self.path, "file")
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise ImageError(f"{self.label} changed since the plan was made", hint="start the run again")
        return data

    def head(self, size: int) -> bytes:
        """As many bytes of its beginning, which are not held against the hash; none of a file that cannot be read."""
        if self.data is not None or self.path is None:
            return (self.data or b"")[:size]
        try:
            with Path(self.path).open("rb") as file:
                return file.read(size)
        except OSError:
            return b""

    def as_file(self) -> File:
        """How a record names it."""
        told = printable(self.command_line) if self.command_line else UNSET
        return File(path=printable(self.label), sha256=self.sha256, size=self.size, cmdline=told)


@dataclass(frozen=True, slots=True)
class SetupNode:
    """A node of the setup_data chain that the user gave."""

    type: int
    body: Blob
    place: str = ""
    """A physical address in hexadecimal, `kernel` for behind the kernel's file; empty where it may lie anywhere."""

    @property
    def word(self) -> str:
        """What `--setup-data` takes."""
        return f"{self.type}={self.body.label}" + (f"@{self.place}" if self.place else "")

    def use(self) -> SetupDataUse:
        """How a record names it."""
        return SetupDataUse(type=self.type, body=self.body.as_file(), place=self.place or UNSET)


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. Sizes in bytes, times in seconds."""

    image: Blob
    provider: str
    entry: str
    platform: str
    cmdline: bytes = DEFAULT_CMDLINE
    initrds: tuple[Blob, ...] = ()
    memory: int = DEFAULT_MEMORY
    until: Milestone = Milestone.SHUTDOWN
    max_insns: int = DEFAULT_MAX_INSNS
    timeout: float = DEFAULT_TIMEOUT
    """Host seconds after which the run is given up, the last resort; 0 is never."""
    seed: int = 0
    epoch: int = DEFAULT_EPOCH
    options: tuple[tuple[str, str], ...] = ()
    """(`group.name`, value), sorted, each name once."""
    observers: bool = True
    system_map: Blob | None = None
    profile: Blob | None = None
    """The TOML of the firmware that the shim imitates, for routes behind it (efishim.firmware.profile)."""
    without: tuple[tuple[str, str], ...] = ()
    """(item, answer) in which the shim differs from the profile besides; sorted, each item once."""
    fail: tuple[str, ...] = ()
    """Calls that fail on purpose, as efishim.lab.plan.faults reads them."""
    setup_data: tuple[SetupNode, ...] = ()
    """Nodes behind those of the provider."""
    shim: ShimPlace | None = None
    """Where the firmware of a route behind the shim runs; None is the host."""
    default_initrd: bool = False
    """The user gave no initial ramdisk: it is the embedded reporting init, or there is none because the image wants none."""
    notes: tuple[str, ...] = ()
    """What the record is to say of how the plan was made."""
    dump: tuple[Blob, ...] = ()
    """The files of the dump that the run begins with, the one that names the others first; there is no provider then."""
    loader: LoaderPlan | None = None
    """The boot loader that the firmware starts in place of the image; None is none."""

    @property
    def route(self) -> str:
        """provider/entry, or LOADER:WAY: which entry a boot loader takes shows in the run."""
        return f"{self.provider}/{self.entry}" if self.loader is None else self.loader.label

    def option(self, name: str, default: str = "") -> str:
        """Value of `group.name`, or the default."""
        return dict(self.options).get(name, default)

    def option_group(self, group: str) -> dict[str, str]:
        """All options of one group, without the group's name."""
        return option_group(self.options, group)

    def route_name(self, entry: str = "") -> RouteName:
        """How a record names the route, at the entry that was used. A boot loader is the producer itself."""
        provider = self.provider if self.loader is None else self.loader.name
        return RouteName(provider=provider, entry=entry or self.entry, platform=self.platform)

    def record_options(self, dump: DumpUse | UnsetType = UNSET) -> Options:
        """How a record says what was asked, and what the run began with."""
        return Options(
            cmdline=printable(self.cmdline),
            initrds=[initrd.as_file() for initrd in self.initrds],
            memory=self.memory,
            until=self.until,
            max_insns=self.max_insns,
            timeout=self.timeout,
            seed=self.seed,
            epoch=self.epoch,
            options=dict(self.options),
            observers=self.observers,
            system_map=self.system_map.as_file() if self.system_map else None,
            profile=self.profile.as_file() if self.profile else UNSET,
            without=dict(self.without) if self.without else UNSET,
            fail=list(self.fail) if self.fail else UNSET,
            setup_data=[node.use() for node in self.setup_data] if self.setup_data else UNSET,
            shim=self.shim or UNSET,
            dump=dump,
            loader=self.loader.use() if self.loader is not None else UNSET,
        )

    def reproduce(self) -> str:
        """The command that makes this very plan, every default spelled out where it could change."""
        words: list[str | bytes] = ["efishim", "run"]
        if self.image.data is None:
            words.append(self.image.label)
        if self.loader is not None:
            words += [*self.loader.words, "--platform", self.platform]
        else:
            words += ["--from", self.dump[0].label] if self.dump else ["-p", self.provider]
            words += ["-e", self.entry, "--platform", self.platform]
        told = not self.dump and (self.loader is None or self.loader.disk is None)
        if told:
            words += ["-a", b"@" + self.cmdline if self.cmdline.startswith(b"@") else self.cmdline]
        if not self.default_initrd and told:
            words += module_words(self.initrds) or ["--no-initrd"]
        words += ["-m", format_size(self.memory), "--until", self.until.value, "--max-insns", str(self.max_insns)]
        words += ["--seed", str(self.seed), "--epoch", str(self.epoch)]
        words += [word for name, value in self.options for word in ("--option", f"{name}={value}")]
        if self.shim:
            words += ["--shim", self.shim.value]
        if not self.observers:
            words.append("--no-observers")
        if self.system_map:
            words += ["--system-map", self.system_map.label]
        if self.profile:
            words += ["--profile", self.profile.label]
        words += [word for one in self.without for word in ("--without", one[0] if one[1] == ABSENT else "=".join(one))]
        words += [word for one in self.fail for word in ("--fail", one)]
        words += [word for node in self.setup_data for word in ("--setup-data", node.word)]
        return " ".join(shell_word(word) for word in words)


def module_words(modules: tuple[Blob, ...]) -> list[str | bytes]:
    """The options that give these ramdisks or modules; --module as soon as one has a command line, for it excludes -i."""
    if not any(one.command_line for one in modules):
        return [word for one in modules for word in ("-i", one.label)]
    texts = [
        b"=".join(part for part in (one.label.encode("utf-8", "surrogateescape"), one.command_line) if part) for one in modules
    ]
    return [word for text in texts for word in ("--module", text)]


def is_embedded(label: str) -> bool:
    """Is it the label of a program of efishim's own?"""
    return label.startswith("embedded:")


def option_group(options: tuple[tuple[str, str], ...], group: str) -> dict[str, str]:
    """The options of one group, without the group's name."""
    prefix = group + "."
    return {name.removeprefix(prefix): value for name, value in options if name.startswith(prefix)}


def printable(text: str | bytes) -> str:
    """Text for a record: bytes that are not UTF-8 become \\xNN, also those that Python keeps as surrogates in paths."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return data.decode("utf-8", "backslashreplace")


def shell_word(word: str | bytes) -> str:
    """A word quoted for bash; what is not printable is written as $'\\xNN'."""
    data = word.encode("utf-8", "surrogateescape") if isinstance(word, str) else word
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not data):
        return shlex.quote(text)
    plain = frozenset(range(0x20, 0x7F)) - {0x27, 0x5C}
    return "$'" + "".join(chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in data) + "'"


def read_bounded(path: str | Path, what: str, limit: int = BLOB_LIMIT) -> bytes:
    """All of a regular file of at most `limit` bytes. Raises ImageError with one sentence."""
    hint = "give a path, or deb:PACKAGE for a Debian kernel package" if what == "image" else f"no {what} has this path"
    return read_file(path, limit, what, ImageError, hint=hint)


def hash_file(path: str, what: str) -> tuple[str, int]:
    """SHA-256 and size of a regular file. Raises ImageError with one sentence."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ImageError(f"{printable(path)} is not a regular file, and so not a {what}")
            return hashlib.file_digest(stream, "sha256").hexdigest(), found.st_size
    except OSError as error:
        raise ImageError(f"{printable(path)} cannot be read: {error.strerror}") from error


def parse_size(text: str, *, what: str = "size") -> int:
    """`512M`, `2G`, `1048576` in bytes (powers of 1024). A number without unit is MiB below 1 MiB, as in QEMU's -m."""
    match = _SIZE.match(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a {what}", hint="write it like 512M or 2G")
    number, unit = int(match[1]), match[2].lower()
    if not unit and number < MIB:
        unit = "m"
    return number << _SHIFT[unit]


def parse_count(text: str) -> int:
    """A number of instructions: `500000`, `500M`, `20G` (powers of 1000). Raises UsageError."""
    match = _COUNT.match(text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(f"{text!r} is not a number of instructions", hint="write it like 500000, 500M or 20G")
    return int(match[1]) * _THOUSANDS[match[2].lower()]


def format_size(size: int) -> str:
    """The shortest form that `parse_size` reads back."""
    for unit, shift in (("G", 30), ("M", 20), ("K", 10)):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def parse_memory(text: str) -> int:
    """Guest RAM: a size between 64 MiB and 64 GiB in whole MiB. Raises UsageError."""
    size = parse_size(text, what="memory size")
    low, high = MEMORY_RANGE
    if not low <= size <= high:
        raise UsageError(f"a guest has between {format_size(low)} and {format_size(high)} of memory, not {text}")
    if size % MIB:
        raise UsageError(f"guest memory comes in whole MiB, and {text} is not")
    return size


def parse_cmdline(text: str) -> bytes:
    """A command line, or `@FILE` for the contents of a file (line ends at its end removed). Raises UsageError.

    `@@` at the start stands for one `@` that belongs to the command line.
    """
    if text.startswith("@@"):
        data = text[1:].encode("utf-8", "surrogateescape")
    elif text.startswith("@"):
        try:
            data = read_bounded(text[1:], "command line", CMDLINE_LIMIT + 2)
        except ImageError as error:
            raise UsageError(error.sentence) from error
        data = data.rstrip(b"\r\n")
    else:
        data = text.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise UsageError("a command line holds no NUL bytes")
    if len(data) > CMDLINE_LIMIT:
        raise UsageError(f"the command line has {len(data)} bytes, more than {CMDLINE_LIMIT}")
    return data


def parse_options(texts: Iterable[str], known: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`group.name=value` texts, sorted; `known` maps each existing `group.name` to its help. Raises UsageError."""
    options: dict[str, str] = {}
    for text in texts:
        match = _OPTION.match(text)
        if match is None:
            raise UsageError(f"{text!r} is not an option", hint="write it like --option group.name=value")
        name = f"{match[1]}.{match[2]}"
        if name not in known:
            listed = ", ".join(sorted(known)) or "none"
            hint = f"{suggestion(name, known)}the options of this route are: {listed}"
            raise UsageError(f"there is no option {name}", hint=hint)
        if options.get(name, match[3]) != match[3]:
            raise UsageError(f"the option {name} is given twice, with different values")
        options[name] = match[3]
    return tuple(sorted(options.items()))
