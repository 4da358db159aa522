"""EFI_LOAD_FILE2_PROTOCOL for the initial ramdisk (UEFI 2.10, 13.2; Linux: drivers/firmware/efi/libstub).

The stub looks for a handle with the vendor media path LINUX_EFI_INITRD_MEDIA_GUID and calls LoadFile on it, once for the
size and once for the bytes. There is one such handle, so several ramdisks become one: concatenated in the order given,
each padded with zeroes to a multiple of four, which is what the kernel's unpacker expects between cpio archives.
"""

from __future__ import annotations

from collections.abc import Sequence

from efishim.firmware.device_path import END, END_ENTIRE, path_bytes, vendor_media
from efishim.firmware.protocols.base import Workshop
from efishim.firmware.status import Status, demand
from efishim.wire.guids import EFI_DEVICE_PATH_PROTOCOL_GUID, EFI_LOAD_FILE2_PROTOCOL_GUID, LINUX_EFI_INITRD_MEDIA_GUID
from efishim.wire.uefi import LOAD_FILE2_PROTOCOL

CHUNK = 1 << 20


def concatenate(initrds: Sequence[bytes]) -> bytes:
    """Several ramdisks as one."""
    if len(initrds) == 1:
        return initrds[0]
    return b"".join(data + bytes(-len(data) % 4) for data in initrds)


class LoadFile2:
    """Serves one file, whatever path is asked for behind the handle's own."""

    def __init__(self, workshop: Workshop, initrds: Sequence[bytes]) -> None:
        self._guest = workshop.guest
        self._data = concatenate(initrds)
        self.interface = workshop.interface("LoadFile2", LOAD_FILE2_PROTOCOL, {"LoadFile": self.load_file})
        path = workshop.place(path_bytes(vendor_media(LINUX_EFI_INITRD_MEDIA_GUID)))
        self.handle = workshop.install(0, EFI_DEVICE_PATH_PROTOCOL_GUID, path)
        self.handle = workshop.install(self.handle, EFI_LOAD_FILE2_PROTOCOL_GUID, self.interface)

    def load_file(self, this: int, path: int, policy: int, size: int, buffer: int) -> int:
        """LoadFile (13.2.2). BootPolicy TRUE is EFI_UNSUPPORTED in this protocol."""
        demand(this == self.interface and path and size)
        demand(not policy, Status.UNSUPPORTED)
        demand(self._guest.read(path, 2) == bytes((END, END_ENTIRE)), Status.NOT_FOUND)
        room = self._guest.uintn(size)
        self._guest.put_uintn(size, len(self._data))
        if buffer == 0 or room < len(self._data):
            return Status.BUFFER_TOO_SMALL
        view = memoryview(self._data)
        for at in range(0, len(view), CHUNK):
            self._guest.write(buffer + at, bytes(view[at : at + CHUNK]))
        return Status.SUCCESS
