"""EFI_SIMPLE_FILE_SYSTEM_PROTOCOL and EFI_FILE_PROTOCOL (UEFI 2.10, 13.4 and 13.5) on a read-only volume.

Programs that bring their own configuration beside themselves, like Xen's loader, read it here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.efi_time import efi_time
from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.firmware.protocols.volume import Node, Volume
from efishim.wire.guids import EFI_FILE_INFO_ID, EFI_FILE_SYSTEM_INFO_ID, EFI_FILE_SYSTEM_VOLUME_LABEL_ID
from efishim.wire.layout import Layout
from efishim.wire.uefi_protocols import (
    FILE_PROTOCOL_REVISION,
    SIMPLE_FILE_SYSTEM_PROTOCOL_REVISION,
    FileInfo,
    FileProtocol,
    FileSystemInfoHead,
    SimpleFileSystemProtocol,
)

VOLUME_FUNCTIONS = functions(
    """
    SimpleFileSystem 13.4.2 OpenVolume This:ptr Root:>ptr
    """
)

FILE_FUNCTIONS = functions(
    """
    File 13.5.2 Open This:ptr NewHandle:>ptr FileName:str OpenMode:u64 Attributes:u64
    File 13.5.3 Close This:ptr
    File 13.5.4 Delete This:ptr
    File 13.5.5 Read This:ptr BufferSize:&uintn Buffer:ptr
    File 13.5.6 Write This:ptr BufferSize:&uintn Buffer:ptr
    File 13.5.12 GetPosition This:ptr Position:>u64
    File 13.5.11 SetPosition This:ptr Position:u64
    File 13.5.13 GetInfo This:ptr InformationType:guid BufferSize:&uintn Buffer:ptr?
    File 13.5.14 SetInfo This:ptr InformationType:guid BufferSize:uintn Buffer:ptr
    File 13.5.15 Flush This:ptr
    """
)

MODE_READ, MODE_WRITE, MODE_CREATE = 1, 2, 1 << 63
MODES = (MODE_READ, MODE_READ | MODE_WRITE, MODE_READ | MODE_WRITE | MODE_CREATE)
"""The only combinations that Open takes (13.5.2)."""

READ_ONLY, DIRECTORY = 0x01, 0x10
VALID_ATTRIBUTES = 0x37
"""File attributes (13.5.2)."""

TO_END = (1 << 64) - 1
"""SetPosition with this goes to the end of the file (13.5.11)."""

BLOCK = 512
CHUNK = 1 << 20

OPEN_LIMIT = 256
"""Most files and directories that are open at a time."""
ENTRIES_LIMIT = 1 << 16
"""Most entries of all directories together that are being read."""
SYSTEM_INFO_SIZE = 36
"""Where the label starts in EFI_FILE_SYSTEM_INFO: behind BlockSize, without the padding of the structure."""


@dataclass(slots=True)
class _Open:
    """What an EFI_FILE_PROTOCOL in guest memory stands for: the last of the nodes that lead to it from the root on."""

    way: tuple[Node, ...]
    position: int = 0
    """Bytes in a file, entries in a directory."""
    entries: tuple[Node, ...] | None = None
    """What is in a directory that is being read."""

    @property
    def node(self) -> Node:
        """The file or directory."""
        return self.way[-1]


class SimpleFileSystem:
    """The files of a volume. A volume that turns out to be damaged answers EFI_VOLUME_CORRUPTED."""

    def __init__(self, context: ProtocolContext, volume: Volume) -> None:
        self._workshop = context
        self._guest = context.guest
        self._volume = volume
        self._opened: dict[int, _Open] = {}
        handlers: dict[str, Handler] = {
            "Open": self.open,
            "Close": self.close,
            "Delete": self.delete,
            "Read": self.read,
            "Write": self.write,
            "GetPosition": self.get_position,
            "SetPosition": self.set_position,
            "GetInfo": self.get_info,
            "SetInfo": self.set_info,
            "Flush": self.flush,
        }
        layout: type[Layout] = FileProtocol
        entries = context.functions(FILE_FUNCTIONS, handlers)
        self._protocol = layout(Revision=FILE_PROTOCOL_REVISION, **entries).build(context.guest.width)
        self.interface = context.interface(
            VOLUME_FUNCTIONS,
            SimpleFileSystemProtocol,
            {"OpenVolume": self.open_volume},
            {"Revision": SIMPLE_FILE_SYSTEM_PROTOCOL_REVISION},
        )

    # -- opening and closing ------------------------------------------------------------------------------------

    def open_volume(self, this: int, root: int) -> int:
        """OpenVolume (13.4.2)."""
        demand(this == self.interface and root)
        return self._hand_out((self._volume.root,), root)

    def open(self, this: int, new_handle: int, name: int, mode: int, attributes: int) -> int:
        """Open (13.5.2)."""
        self._get(this)
        demand(new_handle and name and mode in MODES)
        demand(not mode & MODE_CREATE or attributes & ~VALID_ATTRIBUTES == 0)
        opened = self._get(this)
        try:
            way = self._find(opened.way, self._guest.string(name))
        except EfiError as error:
            missing = error.status is Status.NOT_FOUND
            raise EfiError(Status.WRITE_PROTECTED) if missing and mode & MODE_CREATE else error from None
        demand(not mode & MODE_WRITE, Status.WRITE_PROTECTED)
        return self._hand_out(way, new_handle)

    def _find(self, start: tuple[Node, ...], path: str) -> tuple[Node, ...]:
        """The nodes that lead to a file, from the root for a path that begins with a backslash, else from a directory, or
        from that of a file. Raises EfiError(NOT_FOUND), for the parent of the root too.
        """
        way = start if start[-1].directory else start[:-1]
        if path.startswith("\\"):
            way = way[:1]
        for name in path.split("\\"):
            demand(way[-1].directory, Status.NOT_FOUND)
            if name in ("", "."):
                continue
            if name == "..":
                demand(len(way) > 1, Status.NOT_FOUND)
                way = way[:-1]
                continue
            found = self._volume.child(way[-1], name)
            if found is None:
                raise EfiError(Status.NOT_FOUND)
            way = (*way, found)
        return way

    def _hand_out(self, way: tuple[Node, ...], place: int) -> int:
        demand(len(self._opened) < OPEN_LIMIT, Status.OUT_OF_RESOURCES)
        self._guest.put_uintn(place, 0)
        address = self._workshop.place(self._protocol)
        self._opened[address] = _Open(way)
        self._guest.put_uintn(place, address)
        return Status.SUCCESS

    def _get(self, this: int) -> _Open:
        opened = self._opened.get(this)
        if opened is None:
            raise EfiError(Status.INVALID_PARAMETER)
        return opened

    def close(self, this: int) -> int:
        """Close (13.5.3)."""
        self._get(this)
        del self._opened[this]
        if self._workshop.pool.holds(this):  # the image may have freed it, wrongly
            self._workshop.pool.free(this)
        return Status.SUCCESS

    def delete(self, this: int) -> int:
        """Delete (13.5.4) closes the handle, whatever becomes of the file."""
        self.close(this)
        return Status.WARN_DELETE_FAILURE

    # -- contents -----------------------------------------------------------------------------------------------

    def read(self, this: int, size: int, buffer: int) -> int:
        """Read (13.5.5): bytes of a file, or the information about the next file of the directory."""
        opened = self._get(this)
        demand(size)
        room = self._guest.uintn(size)
        demand(buffer or room == 0)
        if opened.node.directory:
            return self._read_directory(opened, size, room, buffer)
        data = self._volume.content(opened.node)
        demand(opened.position <= len(data), Status.DEVICE_ERROR)
        end = min(opened.position + room, len(data))
        for at in range(opened.position, end, CHUNK):
            self._guest.write(buffer + at - opened.position, data[at : min(at + CHUNK, end)])
        self._guest.put_uintn(size, end - opened.position)
        opened.position = end
        return Status.SUCCESS

    def _read_directory(self, opened: _Open, size: int, room: int, buffer: int) -> int:
        if opened.entries is None:
            entries = self._volume.children(opened.node)
            held = sum(len(one.entries or ()) for one in self._opened.values())
            demand(held + len(entries) <= ENTRIES_LIMIT, Status.OUT_OF_RESOURCES)
            opened.entries = entries
        if opened.position >= len(opened.entries):
            self._guest.put_uintn(size, 0)
            return Status.SUCCESS
        status = self._give(self._file_info(opened.entries[opened.position]), size, room, buffer)
        if status == Status.SUCCESS:
            opened.position += 1
        return status

    def _give(self, data: bytes, size: int, room: int, buffer: int) -> int:
        self._guest.put_uintn(size, len(data))
        if room < len(data):
            return Status.BUFFER_TOO_SMALL
        demand(buffer)
        self._guest.write(buffer, data)
        return Status.SUCCESS

    def write(self, this: int, size: int, buffer: int) -> int:
        """Write (13.5.6): nothing can be open for writing."""
        opened = self._get(this)
        demand(size and buffer)
        return Status.UNSUPPORTED if opened.node.directory else Status.ACCESS_DENIED

    def set_position(self, this: int, position: int) -> int:
        """SetPosition (13.5.11): a directory can only be read from its start again."""
        opened = self._get(this)
        if opened.node.directory:
            demand(position == 0, Status.UNSUPPORTED)
            opened.position = 0
        else:
            opened.position = opened.node.size if position == TO_END else position
        return Status.SUCCESS

    def get_position(self, this: int, position: int) -> int:
        """GetPosition (13.5.12)."""
        opened = self._get(this)
        demand(position)
        demand(not opened.node.directory, Status.UNSUPPORTED)
        self._guest.put(position, opened.position, 8)
        return Status.SUCCESS

    def flush(self, this: int) -> int:
        """Flush (13.5.15)."""
        self._get(this)
        return Status.ACCESS_DENIED

    # -- information --------------------------------------------------------------------------------------------

    def get_info(self, this: int, kind: int, size: int, buffer: int) -> int:
        """GetInfo (13.5.13) about the file, the medium, or its label."""
        opened = self._get(this)
        demand(kind and size)
        match self._guest.guid(kind):
            case guid if guid == EFI_FILE_INFO_ID:
                data = self._file_info(opened.node)
            case guid if guid == EFI_FILE_SYSTEM_INFO_ID:
                data = self._system_info()
            case guid if guid == EFI_FILE_SYSTEM_VOLUME_LABEL_ID:
                data = _text(self._volume.label)
            case _:
                return Status.UNSUPPORTED
        return self._give(data, size, self._guest.uintn(size), buffer)

    def set_info(self, this: int, kind: int, size: int, buffer: int) -> int:
        """SetInfo (13.5.14)."""
        del size
        self._get(this)
        demand(kind and buffer)
        known = (EFI_FILE_INFO_ID, EFI_FILE_SYSTEM_INFO_ID, EFI_FILE_SYSTEM_VOLUME_LABEL_ID)
        return Status.WRITE_PROTECTED if self._guest.guid(kind) in known else Status.UNSUPPORTED

    def _file_info(self, node: Node) -> bytes:
        """EFI_FILE_INFO (13.5.16); the root has no name."""
        text = _text(node.name)
        low, high = struct.unpack("<2Q", efi_time(node.written).build())
        info = FileInfo(
            Size=FileInfo.sizeof() + len(text),
            FileSize=node.size,
            PhysicalSize=_blocks(node.size),
            Attribute=node.attributes | READ_ONLY | (DIRECTORY if node.directory else 0),
        )
        info.CreateTime0, info.LastAccessTime0, info.ModificationTime0 = low, low, low
        info.CreateTime1, info.LastAccessTime1, info.ModificationTime1 = high, high, high
        return info.build() + text

    def _system_info(self) -> bytes:
        """EFI_FILE_SYSTEM_INFO (13.5.17)."""
        text = _text(self._volume.label)
        size = self._volume.size
        head = FileSystemInfoHead(Size=SYSTEM_INFO_SIZE + len(text), ReadOnly=1, VolumeSize=size, BlockSize=BLOCK)
        return head.build()[:SYSTEM_INFO_SIZE] + text


def _text(text: str) -> bytes:
    return text.encode("utf-16-le", "surrogatepass") + b"\0\0"


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
