"""Makes a disk with an EFI system partition from files: GPT, FAT32, the same bytes for the same files each time."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from efishim.disk.medium import LARGEST, DiskError
from efishim.wire import fat as wire
from efishim.wire.disk import (
    BLOCK,
    GPT_ESP,
    GPT_REVISION,
    GPT_SIGNATURE,
    MBR_PROTECTIVE,
    MBR_SIGNATURE,
    GptEntry,
    GptHeader,
    Mbr,
    MbrPartition,
)
from efishim.wire.guids import guid_bytes

FIRST_BLOCK = 2048
"""Where the partition begins: at 1 MiB, as partitioning programs have it."""
ENTRIES, ENTRY_BLOCKS = 128, 32
RESERVED, FATS, FREE_CLUSTERS = 32, 2, 64
ROOT_CLUSTER, END_OF_CHAIN, MEDIA = 2, 0x0FFF_FFFF, 0xF8
DATE = 1 << 5 | 1
"""1980-01-01, the first that FAT knows."""
SHORT = re.compile(r"[A-Z0-9_$~!#%&'()@^`{}-]{1,8}(\.[A-Z0-9_$~!#%&'()@^`{}-]{1,3})?")
FORBIDDEN = frozenset('"*:<>?|/') | {chr(code) for code in range(32)}
NAME_UNITS, PER_ENTRY, MOST_FILES, DEEPEST = 255, 13, 1024, 16


@dataclass
class _Directory:
    entries: dict[str, bytes | _Directory] = field(default_factory=dict)

    def named(self, name: str) -> bytes | _Directory | None:
        """What has this name, whatever its case."""
        return next((one for word, one in self.entries.items() if word.lower() == name.lower()), None)


@dataclass
class _Filler:
    """Clusters of a volume, handed out one behind the other."""

    cluster_size: int
    data: bytearray = field(default_factory=bytearray)
    fat: list[int] = field(default_factory=lambda: [0x0FFF_FF00 | MEDIA, END_OF_CHAIN])

    def take(self, size: int) -> int:
        """The first of as many clusters as bytes need."""
        count, first = max(1, -(-size // self.cluster_size)), len(self.fat)
        self.fat += [*range(first + 1, first + count), END_OF_CHAIN]
        self.data += bytes(count * self.cluster_size)
        return first

    def put(self, cluster: int, data: bytes) -> None:
        """Bytes at the start of a cluster, and on into those behind it."""
        at = (cluster - ROOT_CLUSTER) * self.cluster_size
        self.data[at : at + len(data)] = data


def make_disk(files: Mapping[str, bytes], *, label: str = "EFISHIM") -> bytes:
    """A disk with the files by their paths with backslashes (`\\EFI\\BOOT\\BOOTX64.EFI`). Raises DiskError for names that FAT
    does not take and for more than it may have.
    """
    volume = make_volume(files, label=label)
    blocks = len(volume) // BLOCK
    last = FIRST_BLOCK + blocks - 1
    total = last + 1 + ENTRY_BLOCKS + 1
    seed = hashlib.sha256(volume).digest()
    entry = GptEntry(
        type_guid=guid_bytes(GPT_ESP),
        unique_guid=_guid(seed[16:]),
        starting_lba=FIRST_BLOCK,
        ending_lba=last,
        name="EFI system partition".encode("utf-16-le"),
    )
    table = entry.build().ljust(ENTRIES * GptEntry.SIZE, b"\0")

    def header(mine: int, other: int, entries: int) -> bytes:
        head = GptHeader(
            signature=GPT_SIGNATURE,
            revision=GPT_REVISION,
            header_size=GptHeader.SIZE,
            my_lba=mine,
            alternate_lba=other,
            first_usable_lba=2 + ENTRY_BLOCKS,
            last_usable_lba=last,
            disk_guid=_guid(seed),
            partition_entry_lba=entries,
            number_of_entries=ENTRIES,
            size_of_entry=GptEntry.SIZE,
            entries_crc32=zlib.crc32(table),
        )
        head.header_crc32 = zlib.crc32(head.build())
        return head.build().ljust(BLOCK, b"\0")

    mbr = Mbr(signature=MBR_SIGNATURE)
    mbr.partitions[0] = MbrPartition(
        os_type=MBR_PROTECTIVE, starting_chs=b"\0\2\0", ending_chs=b"\xff\xff\xff", starting_lba=1, size_in_lba=total - 1
    )
    front = mbr.build() + header(1, total - 1, 2) + table
    return front.ljust(FIRST_BLOCK * BLOCK, b"\0") + volume + table + header(total - 1, 1, total - 1 - ENTRY_BLOCKS)


def _guid(seed: bytes) -> bytes:
    """A GUID of version 4 (RFC 9562) from sixteen bytes."""
    raw = bytearray(seed[:16])
    raw[7], raw[8] = raw[7] & 0x0F | 0x40, raw[8] & 0x3F | 0x80
    return bytes(raw)


def make_volume(files: Mapping[str, bytes], *, label: str = "EFISHIM") -> bytes:
    """The same files as a FAT32 volume without a partition table around it. Raises DiskError."""
    root = _tree(files)
    size = sum(len(data) for data in files.values())
    if size > LARGEST // 2:
        raise DiskError(f"files of {size} bytes do not fit the disk, which takes {LARGEST // 2}")
    per_cluster = 1
    while (size >> 9) // per_cluster > 4 * wire.FAT16_CLUSTERS:
        per_cluster *= 2
    filler = _Filler(per_cluster * BLOCK)
    _lay(filler, root, 0, label)
    used = len(filler.fat) - ROOT_CLUSTER
    # A volume with fewer clusters than this would be FAT16 by definition.
    clusters = max(used, wire.FAT16_CLUSTERS) + FREE_CLUSTERS
    fat_sectors = -(-(clusters + ROOT_CLUSTER) * 4 // BLOCK)
    total = RESERVED + FATS * fat_sectors + clusters * per_cluster
    boot = wire.BootSector(
        jump=b"\xeb\x58\x90",
        oem_name=b"EFISHIM ",
        bytes_per_sector=BLOCK,
        sectors_per_cluster=per_cluster,
        reserved_sectors=RESERVED,
        fats=FATS,
        media=MEDIA,
        sectors_per_track=63,
        heads=255,
        hidden_sectors=FIRST_BLOCK,
        total_sectors_32=total,
        fat_size_32=fat_sectors,
        root_cluster=ROOT_CLUSTER,
        fs_info=1,
        backup_boot_sector=6,
        drive=0x80,
        extended_signature=0x29,
        volume_id=zlib.crc32(bytes(filler.data)),
        label=_label(label),
        file_system=b"FAT32   ",
        signature=wire.BOOT_SIGNATURE,
    ).build()
    info = wire.FsInfo(free_count=clusters - used, next_free=used + ROOT_CLUSTER, **wire.FS_INFO).build()
    reserved = boot + info + bytes(4 * BLOCK) + boot + info
    fat = b"".join(entry.to_bytes(4, "little") for entry in filler.fat).ljust(fat_sectors * BLOCK, b"\0")
    return (
        reserved.ljust(RESERVED * BLOCK, b"\0") + fat * FATS + bytes(filler.data).ljust(clusters * per_cluster * BLOCK, b"\0")
    )


def _tree(files: Mapping[str, bytes]) -> _Directory:
    root = _Directory()
    if len(files) > MOST_FILES:
        raise DiskError(f"{len(files)} files are too many for the disk, which takes {MOST_FILES}")
    for path, data in files.items():
        words = path.strip("\\").split("\\")
        if len(words) > DEEPEST:
            raise DiskError(f"{path[:60]!r} lies in more than {DEEPEST} directories")
        here = root
        for word in words[:-1]:
            below = here.named(word)
            if below is None:
                below = here.entries[_name(word)] = _Directory()
            if not isinstance(below, _Directory):
                raise DiskError(f"{path!r} lies in a file of the same disk")
            here = below
        if here.named(words[-1]) is not None:
            raise DiskError(f"two files are called {path!r} on the disk")
        here.entries[_name(words[-1])] = data
    return root


def _name(word: str) -> str:
    fits = 0 < len(word.encode("utf-16-le", "surrogatepass")) // 2 <= NAME_UNITS
    if not fits or not FORBIDDEN.isdisjoint(word) or word.strip(" .") != word:
        raise DiskError(f"{word[:40]!r} cannot be a file's name on a FAT volume")
    return word


def _label(label: str) -> bytes:
    return label.upper().encode("ascii", "replace")[:11].ljust(11)


def _lay(filler: _Filler, directory: _Directory, parent: int, label: str = "") -> int:
    """Put a directory with all that is in it into clusters; gives its first."""
    shorts = _short_names(directory.entries)
    longs = {name: _long_entries(name, short) for name, short in shorts.items()}
    dots = 0 if label else 2
    count = sum(len(one) // wire.ENTRY + 1 for one in longs.values()) + (1 if label else dots)
    mine = filler.take(count * wire.ENTRY)
    rows = [_entry(_label(label), wire.VOLUME_ID, 0, 0)] if label else []
    if not label:
        above = 0 if parent == ROOT_CLUSTER else parent  # the root is named 0 there (page 26)
        rows += [_entry(b".".ljust(11), wire.DIRECTORY, mine, 0), _entry(b"..".ljust(11), wire.DIRECTORY, above, 0)]
    for name, content in directory.entries.items():
        if isinstance(content, _Directory):
            entry = _entry(shorts[name], wire.DIRECTORY, _lay(filler, content, mine), 0)
        else:
            first = filler.take(len(content)) if content else 0
            filler.put(first, content) if content else None
            entry = _entry(shorts[name], wire.ARCHIVE, first, len(content))
        rows += [longs[name], entry]
    filler.put(mine, b"".join(rows))
    return mine


def _entry(name: bytes, attributes: int, cluster: int, size: int) -> bytes:
    return wire.DirectoryEntry(
        name=name,
        attributes=attributes,
        creation_date=DATE,
        access_date=DATE,
        write_date=DATE,
        cluster_high=cluster >> 16,
        cluster_low=cluster & 0xFFFF,
        size=size,
    ).build()


def _short_names(names: Mapping[str, object]) -> dict[str, bytes]:
    """The eleven bytes of each name: those of the name itself where it is one, else numbered ones."""
    found: dict[str, bytes] = {}
    taken: set[bytes] = set()
    for name in sorted(names, key=lambda one: not SHORT.fullmatch(one.upper())):
        base, _, extension = name.upper().rpartition(".") if "." in name[1:] else (name.upper(), "", "")
        usable = [re.sub(r"[^A-Z0-9_$-]", "_", part) for part in (base or extension, extension if base else "")]
        short = f"{base[:8]:8}{extension[:3]:3}".encode("ascii", "replace") if SHORT.fullmatch(name.upper()) else b""
        number = 0
        while not short or short in taken:
            number += 1
            tail = f"~{number}"
            short = f"{usable[0][: 8 - len(tail)] + tail:8}{usable[1][:3]:3}".encode("ascii")
        taken.add(short)
        found[name] = short
    return {name: found[name] for name in names}


def _long_entries(name: str, short: bytes) -> bytes:
    """The entries of a long name, the last part first; none for a name that is its own short one."""
    base, extension = short[:8].rstrip(b" "), short[8:].rstrip(b" ")
    if name == (base + b"." + extension if extension else base).decode("ascii"):
        return b""
    raw = name.encode("utf-16-le", "surrogatepass")
    if len(raw) % (2 * PER_ENTRY):
        raw += b"\0\0"
    raw += b"\xff" * (-len(raw) % (2 * PER_ENTRY))
    count, out = len(raw) // (2 * PER_ENTRY), []
    for number in range(count, 0, -1):
        piece = raw[(number - 1) * 2 * PER_ENTRY : number * 2 * PER_ENTRY]
        entry = wire.LongNameEntry(
            order=number | (wire.LAST_LONG_ENTRY if number == count else 0),
            name1=piece[:10],
            attributes=wire.LONG_NAME,
            checksum=wire.checksum(short),
            name2=piece[10:22],
            name3=piece[22:],
        )
        out.append(entry.build())
    return b"".join(out)
