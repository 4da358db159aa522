"""What a file system protocol reads: files given one by one in the root, or a FAT volume of a disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Protocol, TypeVar

from efishim.disk.fat import FatVolume, File
from efishim.disk.medium import DiskError
from efishim.errors import ProviderError
from efishim.firmware.calling.status import EfiError, Status

BLOCK = 512
LABEL = "EFISHIM"
FILE_LIMIT, NAME_LIMIT = 256, 255
"""Most files of a medium; most UTF-16 units of a name, as on FAT."""
EFI_ATTRIBUTES = 0x27
"""Of the attributes of FAT those that EFI has: read-only, hidden, system, archive (13.5.2)."""
FIRST_YEAR = 1980

_FORBIDDEN = frozenset('\\/"*:<>?|') | {chr(code) for code in range(32)}
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Node:
    """A file or a directory; `key` is the volume's own. The root has no name."""

    name: str
    directory: bool
    size: int
    written: datetime
    key: int | File | None
    attributes: int = 0


class Volume(Protocol):
    """Files by name, whatever their case. All raise EfiError(VOLUME_CORRUPTED) for a damaged volume."""

    @property
    def label(self) -> str:
        """Its name."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def root(self) -> Node:
        """The directory that all others are in."""

    def children(self, directory: Node) -> tuple[Node, ...]:
        """What is in a directory."""

    def child(self, directory: Node, name: str) -> Node | None:
        """What has this name in a directory."""

    def content(self, file: Node) -> bytes:
        """All of a file."""


class FlatVolume:
    """`files` are (name, contents) in the root. Raises ProviderError for names that no FAT medium could have, or twice the
    same one.
    """

    label = LABEL

    def __init__(self, files: Sequence[tuple[str, bytes]], epoch: int = 0) -> None:
        """`epoch`: the date of all files, in seconds since 1970."""
        written = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch)
        self._numbers = _by_name(files)
        self._contents = tuple(data for _, data in files)
        self._nodes = tuple(Node(name, False, len(data), written, number) for number, (name, data) in enumerate(files))
        self.size = sum(-(-len(data) // BLOCK) * BLOCK for data in self._contents)
        self.root = Node("", True, 0, written, None)

    def children(self, directory: Node) -> tuple[Node, ...]:
        """All files."""
        return self._nodes

    def child(self, directory: Node, name: str) -> Node | None:
        """A file."""
        number = self._numbers.get(name.lower())
        return None if number is None else self._nodes[number]

    def content(self, file: Node) -> bytes:
        """What was given."""
        assert isinstance(file.key, int)
        return self._contents[file.key]


class FatFiles:
    """The files of a FAT volume."""

    def __init__(self, volume: FatVolume) -> None:
        self._volume = volume
        self.size = volume.size
        self.root = Node("", True, 0, _moment(0, 0), volume.root)
        self._read: tuple[File, bytes] | None = None

    @cached_property
    def label(self) -> str:
        """As the root directory has it."""
        return _checked(lambda: self._volume.label)

    def children(self, directory: Node) -> tuple[Node, ...]:
        """What is in a directory."""
        return tuple(_node(one) for one in _checked(lambda: self._volume.files(_file(directory))))

    def child(self, directory: Node, name: str) -> Node | None:
        """What has this name, long or short, in a directory."""
        found = _checked(lambda: self._volume.child(_file(directory), name))
        return None if found is None else _node(found)

    def content(self, file: Node) -> bytes:
        """All of a file. The last one is kept: loaders read in pieces."""
        if self._read is None or self._read[0] != file.key:
            self._read = _file(file), _checked(lambda: self._volume.read(_file(file)))
        return self._read[1]


def _checked(action: Callable[[], Answer]) -> Answer:
    try:
        return action()
    except DiskError as error:
        raise EfiError(Status.VOLUME_CORRUPTED) from error


def _file(node: Node) -> File:
    assert isinstance(node.key, File)
    return node.key


def _node(file: File) -> Node:
    size = 0 if file.directory else file.size
    return Node(file.name, file.directory, size, _moment(*file.written), file, file.attributes & EFI_ATTRIBUTES)


def _moment(date: int, time: int) -> datetime:
    """A date and a time as FAT keeps them (page 25); what is no date is the first that FAT knows."""
    try:
        return datetime(
            *(FIRST_YEAR + (date >> 9), date >> 5 & 15, date & 31),
            *(time >> 11, time >> 5 & 63, min(2 * (time & 31), 59)),
            tzinfo=UTC,
        )
    except ValueError:
        return datetime(FIRST_YEAR, 1, 1, tzinfo=UTC)


def _by_name(files: Sequence[tuple[str, bytes]]) -> dict[str, int]:
    """Numbers of files by the form of their names that is looked for."""
    if len(files) > FILE_LIMIT:
        raise ProviderError(f"{len(files)} files are too many for the EFI file system, which takes {FILE_LIMIT}")
    numbers: dict[str, int] = {}
    for number, (name, _) in enumerate(files):
        if not 0 < len(name.encode("utf-16-le", "surrogatepass")) // 2 <= NAME_LIMIT or name in (".", ".."):
            raise ProviderError(f"{name[:40]!r} cannot be a file's name on an EFI file system")
        if not _FORBIDDEN.isdisjoint(name):
            raise ProviderError(f"the file name {name!r} has characters that an EFI file system does not take")
        if name.lower() in numbers:
            raise ProviderError(f"two files are called {name} on the EFI file system", hint="give one of them another name")
        numbers[name.lower()] = number
    return numbers
