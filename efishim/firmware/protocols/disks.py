"""The handles of a disk: the whole of it, its partitions, and the FAT volumes on them, each with its device path.

As firmware has them that has connected all drivers: the partition driver produces a handle for each partition (UEFI 2.10,
13.3.2), the FAT driver puts the file system on it.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.disk.fat import MOST_VOLUMES, FatVolume
from efishim.disk.medium import DiskError, Medium
from efishim.disk.partitions import Partition, read_partitions
from efishim.firmware.calling.device_path import END_OF_PATH, MEDIA, Node, file_path, hard_drive, nodes, path_bytes
from efishim.firmware.calling.status import EfiError, Status
from efishim.firmware.protocols.base import ProtocolContext
from efishim.firmware.protocols.block_io import BlockIo, Extent
from efishim.firmware.protocols.simple_file_system import SimpleFileSystem
from efishim.firmware.protocols.volume import FatFiles
from efishim.firmware.services.loaded_image import Origin
from efishim.wire.guids import EFI_DEVICE_PATH_PROTOCOL_GUID, EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID
from efishim.wire.uefi_protocols import HardDrivePath

BOOT_FILE = "\\EFI\\BOOT\\BOOTX64.EFI"
BOOT_FILE_32 = "\\EFI\\BOOT\\BOOTIA32.EFI"
"""What a boot manager starts of a medium without boot options (3.5.1.1)."""
HARD_DRIVE, FILE_PATH = 1, 4
"""Subtypes of media nodes (10.3.5)."""
LARGEST_PROGRAM = 256 << 20
MOST_SAID = 3
"""Problems of a disk that an error names."""


@dataclass(frozen=True, slots=True)
class Place:
    """A FAT volume: its handle, its device path without the end, and its files."""

    handle: int
    path: tuple[Node, ...]
    volume: FatVolume


@dataclass(frozen=True, slots=True)
class BootFile:
    """The program that is started, and the volume that it is on."""

    place: Place
    name: str
    data: bytes

    @property
    def path(self) -> bytes:
        """Its device path."""
        return path_bytes(*self.place.path, file_path(self.name))

    def origin(self, agent: int) -> Origin:
        """Where it came from, loaded by the firmware that has the handle `agent`."""
        return Origin(agent, self.path, self.place.handle, len(path_bytes(*self.place.path)) - len(END_OF_PATH))


class Disks:
    """Install everything about one disk. `problems` say what of it cannot be used."""

    def __init__(self, context: ProtocolContext, medium: Medium, device: tuple[Node, ...]) -> None:
        """`device` is the device path of the disk."""
        self._context, self._medium = context, medium
        self._block_io = BlockIo(context, medium)
        self.problems: list[str] = []
        self._places: list[Place] = []
        self._by_interface: dict[int, FatVolume] = {}
        table = read_partitions(medium)
        self.problems += table.problems
        whole = self._handle(device, Extent(0, medium.blocks, partition=False))
        if not table.partitions:
            self._file_system(whole, device, 0, medium.blocks, "the disk")
        # An EFI system partition comes first, as it does for whoever looks for one.
        for one in sorted(table.partitions, key=lambda one: not one.system):
            path = (*device, hard_drive(one.number, one.start, one.blocks, one.signature, gpt=one.gpt))
            handle = self._handle(path, Extent(one.start, one.blocks, partition=True))
            self._file_system(handle, path, one.start, one.blocks, _said(one))

    def _handle(self, path: tuple[Node, ...], extent: Extent) -> int:
        at = self._context.place(path_bytes(*path))
        return self._block_io.install(self._context.install(0, EFI_DEVICE_PATH_PROTOCOL_GUID, at), extent)

    def _file_system(self, handle: int, path: tuple[Node, ...], start: int, blocks: int, what: str) -> None:
        try:
            volume = FatVolume(self._medium, start, blocks, self._context.guest.work.spend)
        except DiskError as error:
            self.problems.append(f"{what} has no file system that firmware reads: {error.sentence}")
            return
        if len(self._places) == MOST_VOLUMES:
            self.problems.append(f"{what} is left out: the firmware uses {MOST_VOLUMES} FAT volumes of a disk")
            return
        system = SimpleFileSystem(self._context, FatFiles(volume))
        handle = self._context.install(handle, EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID, system.interface)
        self._by_interface[system.interface] = volume
        self._places.append(Place(handle, path, volume))

    def boot_file(self, name: str) -> BootFile:
        """The program that a boot manager starts of this disk. Raises DiskError when there is none."""
        for place in self._places:
            try:
                file = place.volume.find(name)
                if file is not None and not file.directory:
                    return BootFile(place, name, place.volume.read(file))
            except DiskError as error:
                self.problems.append(error.sentence)
        where = "no FAT volume" if not self._places else f"no {name}"
        detail = f" ({'; '.join(self.problems[:MOST_SAID])})" if self.problems else ""
        raise DiskError(f"the disk cannot be booted from: it has {where}{detail}")

    @property
    def places(self) -> tuple[Place, ...]:
        """The FAT volumes, in the order in which they are looked at."""
        return tuple(self._places)

    def program(self, path: tuple[Node, ...], default: str) -> BootFile:
        """The program that the path of a load option names: from the disk on, or the short form of it, which begins with the
        partition or is the file alone; `default` of what a path without a file leads to (3.1.2). Raises DiskError.
        """
        files = tuple(one for one in path if (one.type, one.subtype) == (MEDIA, FILE_PATH))
        front = tuple(one for one in path if one not in files)
        name = "\\".join(one.body.decode("utf-16-le", "replace").split("\0")[0] for one in files) or default
        for place in self._places:
            whole = place.path[: len(front)] == front if not files else place.path == front
            if not front or whole or (len(front) == 1 and _same_partition(front[0], place.path[-1])):
                file = place.volume.find(name)
                if file is not None and not file.directory:
                    return BootFile(place, name, place.volume.read(file))
        raise DiskError(f"the disk has no {name}")

    def read_file(self, interface: int, path: bytes) -> bytes | None:
        """A file of one of these volumes, by the rest of its device path (7.4.1); None for what is none of them.
        Raises EfiError.
        """
        volume = self._by_interface.get(interface)
        words = [one.body for one in nodes(path) if (one.type, one.subtype) == (MEDIA, FILE_PATH)]
        if volume is None or not words:
            return None
        name = "\\".join(word.decode("utf-16-le", "replace").split("\0")[0] for word in words)
        try:
            file = volume.find(name)
            if file is None or file.directory:
                raise EfiError(Status.NOT_FOUND)
            if file.size > LARGEST_PROGRAM:
                raise EfiError(Status.OUT_OF_RESOURCES)
            return volume.read(file)
        except DiskError as error:
            raise EfiError(Status.DEVICE_ERROR) from error


def _same_partition(one: Node, two: Node) -> bool:
    """Number and signature count, and not where the partition lies."""
    if any((node.type, node.subtype) != (MEDIA, HARD_DRIVE) or len(node.body) != HardDrivePath.SIZE for node in (one, two)):
        return False
    a, b = HardDrivePath.parse(one.body), HardDrivePath.parse(two.body)
    return (a.partition_number, a.signature_type, a.signature) == (b.partition_number, b.signature_type, b.signature)


def _said(partition: Partition) -> str:
    return f"partition {partition.number}"
