"""EFI_LOAD_FILE2_PROTOCOL for the initial ramdisk (UEFI 2.10, 13.2; Linux: drivers/firmware/efi/libstub).

The stub looks for a handle with the vendor media path LINUX_EFI_INITRD_MEDIA_GUID and calls LoadFile on it, once for the
size and once for the bytes. There is one such handle, so several ramdisks become one: concatenated in the order given,
each padded with zeroes to a multiple of four, which is what the kernel's unpacker expects between cpio archives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from efishim.firmware.calling.device_path import END, END_ENTIRE, path_bytes, vendor_media
from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.wire.guids import EFI_DEVICE_PATH_PROTOCOL_GUID, EFI_LOAD_FILE2_PROTOCOL_GUID, LINUX_EFI_INITRD_MEDIA_GUID
from efishim.wire.uefi_protocols import LoadFile2Protocol

FUNCTIONS = functions(
    """
    LoadFile2 13.2.2 LoadFile This:ptr FilePath:path BootPolicy:bool BufferSize:&uintn Buffer:ptr?
    """
)

CHUNK = 1 << 20
ALIGNMENT = 4


@dataclass(frozen=True, slots=True)
class Module:
    """A ramdisk that a loader has put into guest memory: physical address and size in bytes."""

    address: int
    size: int


Ramdisk = bytes | Module


def _size(ramdisk: Ramdisk) -> int:
    return ramdisk.size if isinstance(ramdisk, Module) else len(ramdisk)


class LoadFile2:
    """Serves one file, whatever path is asked for behind the handle's own. Modules are read when they are asked for:
    who changes them in memory before that changes what the image gets.
    """

    def __init__(self, context: ProtocolContext, ramdisks: Sequence[Ramdisk]) -> None:
        self._guest = context.guest
        self._memory = context.board.memory
        self._ramdisks = tuple(ramdisks)
        padded = [-(-_size(ramdisk) // ALIGNMENT) * ALIGNMENT for ramdisk in ramdisks]
        self.size = _size(ramdisks[0]) if len(ramdisks) == 1 else sum(padded)
        self.interface = context.interface(FUNCTIONS, LoadFile2Protocol, {"LoadFile": self.load_file})
        path = context.place(path_bytes(vendor_media(LINUX_EFI_INITRD_MEDIA_GUID)))
        self.handle = context.install(0, EFI_DEVICE_PATH_PROTOCOL_GUID, path)
        self.handle = context.install(self.handle, EFI_LOAD_FILE2_PROTOCOL_GUID, self.interface)

    def _chunks(self, ramdisk: Ramdisk) -> Iterator[bytes]:
        size = _size(ramdisk)
        for at in range(0, size, CHUNK):
            step = min(CHUNK, size - at)
            if isinstance(ramdisk, Module):
                yield self._memory.read(ramdisk.address + at, step)
            else:
                yield ramdisk[at : at + step]
        if len(self._ramdisks) > 1:
            yield bytes(-size % ALIGNMENT)

    def load_file(self, this: int, path: int, policy: int, size: int, buffer: int) -> int:
        """LoadFile (13.2.2). BootPolicy TRUE is EFI_UNSUPPORTED in this protocol."""
        demand(this == self.interface and path and size)
        demand(not policy, Status.UNSUPPORTED)
        demand(self._guest.read(path, 2) == bytes((END, END_ENTIRE)), Status.NOT_FOUND)
        room = self._guest.uintn(size)
        self._guest.put_uintn(size, self.size)
        if buffer == 0 or room < self.size:
            return Status.BUFFER_TOO_SMALL
        at = buffer
        for ramdisk in self._ramdisks:
            for chunk in self._chunks(ramdisk):
                self._guest.write(at, chunk)
                at += len(chunk)
        return Status.SUCCESS
