"""Reads a FAT12, FAT16 or FAT32 volume. Everything that a volume says is held against its size before it is followed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from efishim.disk.medium import DiskError, Medium
from efishim.wire import fat as wire
from efishim.wire.disk import BLOCK

MOST_ENTRIES = 65536
"""Entries of a directory (2 MiB, page 23)."""
MOST_FILES = 4096
"""Files of a directory that are looked at."""
MOST_VOLUMES = 32
"""FAT volumes of a disk that are used."""
STEPS, ENTRY_COST = 4, 16
"""Clusters of a chain that are one operation of the host; operations that an entry of a directory is."""
FIRST_CLUSTER = 2
CODE_PAGE = "cp437"


@dataclass(frozen=True, slots=True)
class File:
    """A file or a directory. `cluster` is its first, 0 for an empty file and the root of FAT12 and FAT16."""

    name: str
    short_name: str
    attributes: int
    cluster: int
    size: int
    written: tuple[int, int] = (0, 0)
    """Date and time as the directory has them."""

    @property
    def directory(self) -> bool:
        """Is it one?"""
        return bool(self.attributes & wire.DIRECTORY)


ROOT_NAME = ""


class FatVolume:
    """The volume in `blocks` blocks of a medium from block `start` on. Raises DiskError for what is no FAT volume.

    `spend` is told how many operations of the host come next, and may raise: directories can contain themselves, so that a
    path through them is as long as whoever opens it likes.
    """

    def __init__(self, medium: Medium, start: int, blocks: int, spend: Callable[[int], None] = lambda operations: None) -> None:
        self._medium, self._start, self._spend = medium, start * BLOCK, spend
        self._size = blocks * BLOCK
        boot = wire.BootSector.parse(self._at(0, BLOCK))
        sector = boot.bytes_per_sector
        if boot.signature != wire.BOOT_SIGNATURE or sector not in (512, 1024, 2048, 4096):
            raise DiskError("there is no FAT boot sector")
        if boot.sectors_per_cluster not in (1, 2, 4, 8, 16, 32, 64, 128) or not boot.reserved_sectors or not boot.fats:
            raise DiskError("the FAT boot sector describes no volume")
        self._fat_sectors = boot.fat_size_16 or boot.fat_size_32
        self._fat_start = boot.reserved_sectors * sector
        self.cluster_size = boot.sectors_per_cluster * sector
        root_sectors = -(-boot.root_entries * wire.ENTRY // sector)
        self._root_start = self._fat_start + boot.fats * self._fat_sectors * sector
        self._root_size = boot.root_entries * wire.ENTRY
        self._data_start = self._root_start + root_sectors * sector
        total = (boot.total_sectors_16 or boot.total_sectors_32) * sector
        if not self._fat_sectors or not self._data_start < total:
            raise DiskError("the FAT volume has no room for data")
        if total > self._size:
            raise DiskError(f"the FAT volume says that it has {total} bytes, the disk has {self._size} for it")
        self.clusters = (total - self._data_start) // self.cluster_size
        self.bits = 12 if self.clusters < wire.FAT12_CLUSTERS else 16 if self.clusters < wire.FAT16_CLUSTERS else 32
        if (self.clusters + FIRST_CLUSTER) * self.bits > self._fat_sectors * sector * 8:
            raise DiskError("the allocation table of the FAT volume is shorter than its data")
        self.size = total
        cluster = boot.root_cluster if self.bits == 32 else 0
        self.root = File(ROOT_NAME, ROOT_NAME, wire.DIRECTORY, cluster, 0)
        label = boot.label if self.bits == 32 else self._at(0, BLOCK)[43:54]
        self.boot_label = label.decode(CODE_PAGE).rstrip("\0 ")

    def _at(self, offset: int, size: int) -> bytes:
        if offset < 0 or offset + size > self._size:
            raise DiskError(f"{size} bytes at {offset:#x} are behind the end of the FAT volume")
        return self._medium.read(self._start + offset, size)

    @cached_property
    def _fat(self) -> bytes:
        return self._at(self._fat_start, -(-(self.clusters + FIRST_CLUSTER) * self.bits // 8))

    def _next(self, cluster: int) -> int:
        """The cluster behind this one, 0 for the last. Raises DiskError where there is none."""
        if self.bits == 12:
            pair = int.from_bytes(self._fat[cluster * 3 // 2 :][:2], "little")
            value, end = (pair >> 4 if cluster & 1 else pair & 0xFFF), 0xFF8
        else:
            width = self.bits // 8
            value = int.from_bytes(self._fat[cluster * width : (cluster + 1) * width], "little")
            value, end = (value & 0x0FFF_FFFF, 0x0FFF_FFF8) if self.bits == 32 else (value, 0xFFF8)
        if value >= end:
            return 0
        if not FIRST_CLUSTER <= value < self.clusters + FIRST_CLUSTER:
            raise DiskError(f"a file of the FAT volume continues in cluster {value:#x}, which does not exist")
        return value

    def chain(self, first: int) -> Iterator[int]:
        """The clusters of a file. Raises DiskError for a chain that leaves the volume or comes back to itself."""
        if first and not FIRST_CLUSTER <= first < self.clusters + FIRST_CLUSTER:
            raise DiskError(f"a file of the FAT volume begins in cluster {first:#x}, which does not exist")
        met, cluster = 0, first
        while cluster:
            if met % STEPS == 0:
                self._spend(1)
            met += 1
            if met > self.clusters:
                raise DiskError("a file of the FAT volume has a cluster chain that loops")
            yield cluster
            cluster = self._next(cluster)

    def _cluster(self, number: int) -> bytes:
        return self._at(self._data_start + (number - FIRST_CLUSTER) * self.cluster_size, self.cluster_size)

    def read(self, file: File) -> bytes:
        """All of a file. Raises DiskError; one that is shorter than its directory entry says is damaged."""
        if file.size > self.clusters * self.cluster_size:
            raise DiskError(f"{file.name} says that it has {file.size} bytes, more than its FAT volume")
        return self._content(file, file.size)

    def head(self, file: File, size: int) -> bytes:
        """As many bytes of its beginning; none of a file that is damaged."""
        try:
            return self._content(file, min(size, file.size))
        except DiskError:
            return b""

    def _content(self, file: File, size: int) -> bytes:
        pieces, left = [], size
        for cluster in self.chain(file.cluster) if left else ():
            pieces.append(self._cluster(cluster)[:left])
            left -= len(pieces[-1])
            if not left:
                break
        if left:
            raise DiskError(f"{file.name} is {left} bytes shorter than its directory entry says")
        return b"".join(pieces)

    def _entries(self, directory: File) -> Iterator[bytes]:
        if directory.cluster == 0 and self.bits != 32:
            blocks: Iterator[bytes] = iter([self._at(self._root_start, self._root_size)])
        else:
            blocks = (self._cluster(number) for number in self.chain(directory.cluster))
        count = 0
        for block in blocks:
            for at in range(0, len(block), wire.ENTRY):
                self._spend(ENTRY_COST)
                count += 1
                if block[at] == wire.LAST or count > MOST_ENTRIES:
                    return
                yield block[at : at + wire.ENTRY]

    def files(self, directory: File) -> tuple[File, ...]:
        """What is in a directory, without `.` and `..`. Raises DiskError."""
        found: list[File] = []
        long: list[wire.LongNameEntry] = []
        for raw in self._entries(directory):
            if raw[0] == wire.FREE:
                long.clear()
                continue
            if raw[11] & wire.LONG_NAME_MASK == wire.LONG_NAME:
                part = wire.LongNameEntry.parse(raw)
                if part.order & wire.LAST_LONG_ENTRY:
                    long.clear()
                long.append(part)
                continue
            entry = wire.DirectoryEntry.parse(raw)
            name, long = _long_name(long, entry.name), []
            if entry.attributes & wire.VOLUME_ID or entry.name[:1] == b".":
                continue
            short = _short_name(entry)
            cluster = entry.cluster_low | (entry.cluster_high << 16 if self.bits == 32 else 0)
            found.append(
                File(name or short, short, entry.attributes, cluster, entry.size, (entry.write_date, entry.write_time))
            )
            if len(found) >= MOST_FILES:
                break
        return tuple(found)

    @cached_property
    def label(self) -> str:
        """The volume's name: that of the root directory, else that of the boot sector."""
        for raw in self._entries(self.root):
            if raw[0] != wire.FREE and raw[11] & wire.LONG_NAME_MASK == wire.VOLUME_ID:
                return raw[:11].decode(CODE_PAGE).rstrip()
        return self.boot_label

    def find(self, path: str) -> File | None:
        """A file by its path with backslashes from the root on, whatever its case; None without one. Raises DiskError."""
        here = self.root
        for word in path.split("\\"):
            if word:
                found = self.child(here, word)
                if found is None:
                    return None
                here = found
        return here

    def child(self, directory: File, name: str) -> File | None:
        """What has this name, long or short, in a directory. Raises DiskError."""
        if not directory.directory:
            return None
        wanted = name.lower()
        return next((one for one in self.files(directory) if wanted in (one.name.lower(), one.short_name.lower())), None)


def _long_name(parts: list[wire.LongNameEntry], short: bytes) -> str:
    """The name that the entries before a short name make; empty when they do not belong to it."""
    if not parts or [part.order & 0x3F for part in parts] != list(range(len(parts), 0, -1)):
        return ""
    if any(part.checksum != wire.checksum(short) for part in parts):
        return ""
    raw = b"".join(part.name1 + part.name2 + part.name3 for part in reversed(parts))
    return raw.decode("utf-16-le", "surrogatepass").split("\0")[0]


def _short_name(entry: wire.DirectoryEntry) -> str:
    raw = entry.name
    if raw[0] == 0x05:  # a KANJI lead byte that would read as a free entry
        raw = b"\xe5" + raw[1:]
    base, extension = raw[:8].decode(CODE_PAGE).rstrip(), raw[8:].decode(CODE_PAGE).rstrip()
    if entry.nt_reserved & wire.LOWER_BASE:
        base = base.lower()
    if entry.nt_reserved & wire.LOWER_EXTENSION:
        extension = extension.lower()
    return f"{base}.{extension}" if extension else base
