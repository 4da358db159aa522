"""EFI_BLOCK_IO_PROTOCOL and EFI_DISK_IO_PROTOCOL (UEFI 2.10, 13.9 and 13.7) over a disk and its partitions."""

from __future__ import annotations

from dataclasses import dataclass

from efishim.disk.medium import DiskError, Medium
from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.wire.disk import BLOCK
from efishim.wire.guids import EFI_BLOCK_IO_PROTOCOL_GUID, EFI_DISK_IO_PROTOCOL_GUID
from efishim.wire.uefi_protocols import (
    BLOCK_IO_PROTOCOL_REVISION,
    DISK_IO_PROTOCOL_REVISION,
    BlockIoMedia,
    BlockIoProtocol,
    DiskIoProtocol,
)

BLOCK_FUNCTIONS = functions(
    """
    BlockIo 13.9.2 Reset This:ptr ExtendedVerification:bool
    BlockIo 13.9.3 ReadBlocks This:ptr MediaId:u32 Lba:u64 BufferSize:uintn Buffer:ptr
    BlockIo 13.9.4 WriteBlocks This:ptr MediaId:u32 Lba:u64 BufferSize:uintn Buffer:ptr
    BlockIo 13.9.5 FlushBlocks This:ptr
    """
)

DISK_FUNCTIONS = functions(
    """
    DiskIo 13.7.2 ReadDisk This:ptr MediaId:u32 Offset:u64 BufferSize:uintn Buffer:ptr
    DiskIo 13.7.3 WriteDisk This:ptr MediaId:u32 Offset:u64 BufferSize:uintn Buffer:ptr
    """
)

MEDIA_ID = 0
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Extent:
    """Blocks of a medium: all of them, or a partition."""

    start: int
    blocks: int
    partition: bool


class BlockIo:
    """The two protocols for any number of extents of one medium."""

    def __init__(self, context: ProtocolContext, medium: Medium) -> None:
        self._context, self._guest, self._medium = context, context.guest, medium
        self._block_functions = context.functions(
            BLOCK_FUNCTIONS,
            {"Reset": self.reset, "ReadBlocks": self.read_blocks, "WriteBlocks": self.write_blocks, "FlushBlocks": self.flush},
        )
        self._disk_functions = context.functions(DISK_FUNCTIONS, {"ReadDisk": self.read_disk, "WriteDisk": self.write_disk})
        self._block: dict[int, Extent] = {}
        self._disk: dict[int, Extent] = {}

    def install(self, handle: int, extent: Extent) -> int:
        """Both protocols on a handle (0: a new one), which is given."""
        media = BlockIoMedia(
            MediaId=MEDIA_ID,
            MediaPresent=1,
            LogicalPartition=int(extent.partition),
            ReadOnly=int(not self._medium.writable),
            BlockSize=BLOCK,
            LastBlock=extent.blocks - 1,
        )
        width = self._guest.width
        at = self._context.place(media.build(width))
        block = BlockIoProtocol(Revision=BLOCK_IO_PROTOCOL_REVISION, Media=at, **self._block_functions)
        disk = DiskIoProtocol(Revision=DISK_IO_PROTOCOL_REVISION, **self._disk_functions)
        block_at, disk_at = self._context.place(block.build(width)), self._context.place(disk.build(width))
        self._block[block_at], self._disk[disk_at] = extent, extent
        handle = self._context.install(handle, EFI_BLOCK_IO_PROTOCOL_GUID, block_at)
        return self._context.install(handle, EFI_DISK_IO_PROTOCOL_GUID, disk_at)

    def reset(self, this: int, extended: int) -> int:
        """Reset (13.9.2)."""
        del extended
        demand(this in self._block)
        return Status.SUCCESS

    def flush(self, this: int) -> int:
        """FlushBlocks (13.9.5): nothing is kept back."""
        demand(this in self._block)
        return Status.SUCCESS

    def read_blocks(self, this: int, media: int, lba: int, size: int, buffer: int) -> int:
        """ReadBlocks (13.9.3)."""
        return self._read(self._blocks(this, media, lba, size, buffer), lba * BLOCK, size, buffer)

    def write_blocks(self, this: int, media: int, lba: int, size: int, buffer: int) -> int:
        """WriteBlocks (13.9.4)."""
        demand(self._medium.writable, Status.WRITE_PROTECTED)
        return self._write(self._blocks(this, media, lba, size, buffer), lba * BLOCK, size, buffer)

    def _blocks(self, this: int, media: int, lba: int, size: int, buffer: int) -> Extent:
        """What is asked for, which has to be whole blocks of the device."""
        demand(this in self._block)
        extent = self._block[this]
        demand(media == MEDIA_ID, Status.MEDIA_CHANGED)
        demand(size % BLOCK == 0, Status.BAD_BUFFER_SIZE)
        demand(lba < extent.blocks and lba + size // BLOCK <= extent.blocks and (buffer or not size))
        return extent

    def read_disk(self, this: int, media: int, offset: int, size: int, buffer: int) -> int:
        """ReadDisk (13.7.2)."""
        return self._read(self._bytes(this, media, offset, size, buffer), offset, size, buffer)

    def write_disk(self, this: int, media: int, offset: int, size: int, buffer: int) -> int:
        """WriteDisk (13.7.3)."""
        demand(self._medium.writable, Status.WRITE_PROTECTED)
        return self._write(self._bytes(this, media, offset, size, buffer), offset, size, buffer)

    def _bytes(self, this: int, media: int, offset: int, size: int, buffer: int) -> Extent:
        demand(this in self._disk)
        extent = self._disk[this]
        demand(media == MEDIA_ID, Status.MEDIA_CHANGED)
        demand(offset + size <= extent.blocks * BLOCK and (buffer or not size))
        return extent

    def _read(self, extent: Extent, offset: int, size: int, buffer: int) -> int:
        start = extent.start * BLOCK + offset
        for at in range(0, size, CHUNK):
            self._guest.write(buffer + at, self._medium.read(start + at, min(CHUNK, size - at)))
        return Status.SUCCESS

    def _write(self, extent: Extent, offset: int, size: int, buffer: int) -> int:
        start = extent.start * BLOCK + offset
        try:
            for at in range(0, size, CHUNK):
                self._medium.write(start + at, self._guest.read(buffer + at, min(CHUNK, size - at)))
        except DiskError as error:
            raise EfiError(Status.DEVICE_ERROR) from error
        return Status.SUCCESS
