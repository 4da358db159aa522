"""Image services (UEFI 2.10, 7.4): LoadImage, StartImage, Exit, UnloadImage."""

from __future__ import annotations

from collections.abc import Callable

from efishim.errors import ImageError
from efishim.firmware.calling.architecture import machine_of
from efishim.firmware.calling.device_path import read_path
from efishim.firmware.calling.dispatch import Call, Handler, Steps, Unwind
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, demand, is_error
from efishim.firmware.memory.loader import Loader
from efishim.firmware.memory.memory_map import MemoryType
from efishim.firmware.memory.pool import Pool
from efishim.firmware.services.events import Events
from efishim.firmware.services.handles import Interface
from efishim.firmware.services.loaded_image import NOWHERE, LoadedImage, Origin, file_path_of
from efishim.firmware.services.protocol_services import ProtocolServices
from efishim.image.pe import PeImage, layout_pe, parse_pe
from efishim.wire.guids import (
    EFI_DEVICE_PATH_PROTOCOL_GUID,
    EFI_LOAD_FILE2_PROTOCOL_GUID,
    EFI_LOAD_FILE_PROTOCOL_GUID,
    EFI_LOADED_IMAGE_DEVICE_PATH_PROTOCOL_GUID,
    EFI_LOADED_IMAGE_PROTOCOL_GUID,
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID,
)
from efishim.wire.pe import MACHINE_X64
from efishim.wire.uefi_protocols import LOADED_IMAGE_PROTOCOL_REVISION, LoadedImageProtocol

APPLICATION, BOOT_DRIVER, RUNTIME_DRIVER = 10, 11, 12
"""Subsystems (2.1.1)."""

_TYPES = {
    APPLICATION: (MemoryType.LOADER_CODE, MemoryType.LOADER_DATA),
    BOOT_DRIVER: (MemoryType.BOOT_SERVICES_CODE, MemoryType.BOOT_SERVICES_DATA),
    RUNTIME_DRIVER: (MemoryType.RUNTIME_SERVICES_CODE, MemoryType.RUNTIME_SERVICES_DATA),
}

NOTHING_GUID = "5b0d4c0f-41b7-4c43-8b0a-6d0f1c7e9a53"
"""What an image's handle has when a profile hides all its protocols: a handle without any does not exist (7.3)."""

IMAGE_LIMIT = 64
SOURCE_LIMIT = 1 << 30
EXIT_DATA_LIMIT = 1 << 20


class Images:
    """Loads and runs images. `system_table` is what entry points get; the boot image is loaded by `load` too."""

    def __init__(
        self, guest: Guest, pool: Pool, loader: Loader, protocols: ProtocolServices, events: Events, *, system_table: int
    ) -> None:
        self._guest = guest
        self._pool = pool
        self._loader = loader
        self._protocols = protocols
        self._handles = protocols.handles
        self._events = events
        self._system_table = system_table
        self._machine = machine_of(guest.width)
        self._images: dict[int, LoadedImage] = {}
        self.current: LoadedImage | None = None
        self.on_load: Callable[[LoadedImage, PeImage], None] = lambda image, pe: None
        self.offers: Callable[[str], bool] = lambda guid: True
        """Which protocols images get (by GUID)."""
        self.read_file: Callable[[int, bytes], bytes | None] = lambda interface, path: None
        """A file by the interface of one of the firmware's own file systems and the rest of its device path."""

    def services(self) -> dict[str, Handler]:
        """By name in the boot services table."""
        return {
            "LoadImage": self.load_image,
            "StartImage": self.start_image,
            "Exit": self.exit,
            "UnloadImage": self.unload_image,
        }

    def get(self, handle: int) -> LoadedImage:
        """The image behind a handle. Raises EfiError(INVALID_PARAMETER)."""
        image = self._images.get(handle)
        if image is None:
            raise EfiError(Status.INVALID_PARAMETER)
        return image

    def is_image(self, handle: int) -> bool:
        """Is this the handle of a loaded image?"""
        return handle in self._images

    # -- loading ------------------------------------------------------------------------------------------------

    def load_image(self, policy: int, parent: int, path: int, source: int, size: int, out: int) -> int | Steps:
        """LoadImage (7.4.1) from a buffer, or from a device path by LoadFile2 and LoadFile."""
        demand(out)
        self._guest.put_uintn(out, self._guest.uintn(out))
        owner = self._images.get(parent)
        demand(owner is not None or parent == self._protocols.agent)
        demand(source or path, Status.NOT_FOUND)
        path_data = read_path(self._guest, path) if path else b""
        if source == 0:
            found = self._in_file_system(path_data)
            if found is None:
                return self._load_from_path(policy, parent, path, path_data, out)
            self._load_to(found, parent, path_data, out)
            return Status.SUCCESS
        demand(size, Status.LOAD_ERROR)
        demand(size <= min(SOURCE_LIMIT, self._guest.size), Status.OUT_OF_RESOURCES)
        self._load_to(self._guest.read(source, size), parent, path_data, out)
        return Status.SUCCESS

    def _load_to(self, data: bytes, parent: int, path_data: bytes, out: int) -> None:
        device, device_part = self._file_system(path_data) if path_data else (None, 0)
        handle = device.handle if device is not None else 0
        image = self.load(data, Origin(parent, path_data, handle, device_part))
        self._guest.put_uintn(out, image.handle)

    def _file_system(self, path_data: bytes) -> tuple[Interface | None, int]:
        """The file system that a path leads to, and how many bytes of the path do; None for a path to anything else."""
        best: tuple[Interface | None, int] = (None, 0)
        for interface in self._handles.interfaces(EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID):
            device = self._handles.find(interface.handle, EFI_DEVICE_PATH_PROTOCOL_GUID)
            prefix = self._prefix(device) if device is not None else None
            if prefix is not None and path_data.startswith(prefix) and len(prefix) > best[1]:
                best = interface, len(prefix)
        return best

    def _prefix(self, device: Interface) -> bytes | None:
        """The device path of a handle without its end; None for one that is malformed, which leads nowhere."""
        try:
            return read_path(self._guest, device.address)[:-4]
        except EfiError:
            return None

    def _in_file_system(self, path_data: bytes) -> bytes | None:
        """The file that a path names in one of the firmware's own file systems, None for any other path."""
        interface, device_part = self._file_system(path_data)
        return None if interface is None else self.read_file(interface.address, path_data[device_part:])

    def _load_from_path(self, policy: int, parent: int, path: int, path_data: bytes, out: int) -> Steps:
        found = self._find_loader(path_data)
        if found is None:
            return Status.NOT_FOUND
        interface, rest = found
        size_at = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, 8)
        buffer = 0
        try:
            self._guest.put_uintn(size_at, 0)
            function = self._guest.uintn(interface)
            status = yield Call(function, (interface, path + rest, policy, size_at, 0))
            demand(status == Status.BUFFER_TOO_SMALL, Status.NOT_FOUND)
            size = self._guest.uintn(size_at)
            demand(0 < size <= SOURCE_LIMIT, Status.LOAD_ERROR)
            buffer = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, size)
            status = yield Call(function, (interface, path + rest, policy, size_at, buffer))
            demand(not is_error(status), Status.DEVICE_ERROR)
            self._load_to(self._guest.read(buffer, size), parent, path_data, out)
        finally:
            for address in (size_at, buffer):
                if self._pool.holds(address):
                    self._pool.free(address)
        return Status.SUCCESS

    def _find_loader(self, path_data: bytes) -> tuple[int, int] | None:
        """(LoadFile2 or LoadFile interface, bytes of the path that lead to it) of the longest match. File systems come
        first (7.4.1), and of those the ones that images bring are left out.
        """
        best: tuple[int, int] | None = None
        for guid in (EFI_LOAD_FILE2_PROTOCOL_GUID, EFI_LOAD_FILE_PROTOCOL_GUID):
            for interface in self._handles.interfaces(guid):
                device = self._handles.find(interface.handle, EFI_DEVICE_PATH_PROTOCOL_GUID)
                prefix = self._prefix(device) if device is not None else None
                if prefix is not None and path_data.startswith(prefix) and (best is None or len(prefix) > best[1]):
                    best = interface.address, len(prefix)
        return best

    def load(self, data: bytes, origin: Origin = NOWHERE) -> LoadedImage:
        """Put an image into memory and give it a handle.

        Raises EfiError: LOAD_ERROR for what cannot be read, UNSUPPORTED for another machine or kind of image,
        OUT_OF_RESOURCES.
        """
        demand(len(self._images) < IMAGE_LIMIT, Status.OUT_OF_RESOURCES)
        try:
            pe = parse_pe(data)
            entry_rva = self._entry(pe)
            layout = layout_pe(data, pe)
            demand(entry_rva < layout.size_of_image, Status.LOAD_ERROR)
        except ImageError as error:
            raise EfiError(Status.LOAD_ERROR) from error
        base, pages = self._loader.place(layout, _TYPES[pe.subsystem][0], nx_compat=pe.nx_compat)
        entry, size = base + entry_rva, layout.size_of_image
        image = LoadedImage(0, 0, 0, base, pages, entry, pe.subsystem, size, layout)
        self._introduce(image, origin)
        self.on_load(image, pe)
        return image

    def _entry(self, pe: PeImage) -> int:
        """RVA of the entry point for this firmware: the image's own, or of a 64-bit image the one that its .compat section
        names for 32-bit firmware. Raises EfiError(UNSUPPORTED) for programs of other machines and for what is none.
        """
        machine = self._machine
        demand(pe.subsystem in _TYPES, Status.UNSUPPORTED)
        if pe.machine == machine:
            demand(pe.plus == (machine == MACHINE_X64), Status.UNSUPPORTED)
            return pe.entry_rva
        entry = pe.compat_entry(machine)
        if entry is None:
            raise EfiError(Status.UNSUPPORTED)
        return entry

    def adopt(self, base: int, size: int, origin: Origin = NOWHERE) -> LoadedImage:
        """A handle with its protocols for a program that lies at `base` already and was not loaded by LoadImage, like the
        one that a boot loader passes to the kernel's handover entry. Its memory is not the firmware's to free.
        """
        demand(len(self._images) < IMAGE_LIMIT, Status.OUT_OF_RESOURCES)
        image = LoadedImage(0, 0, 0, base, 0, 0, APPLICATION, size)
        self._introduce(image, origin)
        return image

    def _introduce(self, image: LoadedImage, origin: Origin) -> None:
        """Give an image that is in memory its protocols and its handle."""
        code, data_type = _TYPES[image.subsystem]
        width = self._guest.width
        image.protocol = self._pool_struct(LoadedImageProtocol.sizeof(width))
        image.device_path = self._pool_struct(len(origin.path_data)) if origin.path_data else 0
        if image.device_path:
            self._guest.write(image.device_path, origin.path_data)
        protocol = LoadedImageProtocol(
            Revision=LOADED_IMAGE_PROTOCOL_REVISION,
            ParentHandle=origin.parent,
            SystemTable=self._system_table,
            DeviceHandle=origin.device,
            FilePath=file_path_of(origin, image),
            LoadOptions=origin.options[0],
            LoadOptionsSize=origin.options[1],
            ImageBase=image.base,
            ImageSize=image.size,
            ImageCodeType=code,
            ImageDataType=data_type,
        )
        self._guest.write(image.protocol, protocol.build(width))
        own = (
            (EFI_LOADED_IMAGE_PROTOCOL_GUID, image.protocol),
            (EFI_LOADED_IMAGE_DEVICE_PATH_PROTOCOL_GUID, image.device_path),
        )
        for guid, address in [one for one in own if self.offers(one[0])] or [(NOTHING_GUID, 0)]:
            image.handle = self._protocols.add(image.handle, guid, address)
        self._images[image.handle] = image

    def name_of(self, address: int) -> str | None:
        """What of a loaded image lies at an address: `.data of the image`."""
        for number, image in enumerate(self._images.values()):
            if image.base <= address < image.base + image.size:
                rva = address - image.base
                pieces = image.layout.pieces if image.layout is not None else ()
                found = next((piece.name for piece in reversed(pieces) if piece.rva <= rva < piece.end), "no section")
                return f"{found} of {'the image' if number == 0 else f'image number {number + 1}'}"
        return None

    def _pool_struct(self, size: int) -> int:
        return self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, size)

    # -- running ------------------------------------------------------------------------------------------------

    def start_image(self, handle: int, exit_size: int, exit_data: int) -> int | Steps:
        """StartImage (7.4.2)."""
        image = self.get(handle)
        demand(not image.started)
        return self.run(image, exit_size, exit_data)

    def run(self, image: LoadedImage, exit_size: int = 0, exit_data: int = 0) -> Steps:
        """Call the entry point; Exit unwinds to here. An application is unloaded when it returns, a driver when it
        fails (7.4.2).
        """
        status = yield from self._call(image, image.entry, (image.handle, self._system_table))
        data, size = image.exit_data
        if exit_size and exit_data:
            self._guest.put_uintn(exit_size, size)
            self._guest.put_uintn(exit_data, data)
        elif data and self._pool.holds(data):
            self._pool.free(data)
        if image.subsystem == APPLICATION or is_error(status):
            self._remove(image)
        return status

    def _call(self, image: LoadedImage, address: int, arguments: tuple[int, ...]) -> Steps:
        """Call code of an image, which is the current one until that returns."""
        image.started = True
        image.tpl = self._events.tpl
        image.parent, self.current = self.current, image
        status = yield Call(address, arguments, catch=image)
        self.current = image.parent
        self._events.tpl = image.tpl
        return status

    def hand_over(self, image: LoadedImage, address: int, arguments: tuple[int, ...]) -> Steps:
        """Call an adopted image where, and with what, its loader chose."""
        status = yield from self._call(image, address, arguments)
        self._remove(image)
        return status

    def exit(self, handle: int, status: int, size: int, data: int) -> int:
        """Exit (7.4.5): an image that has not started is unloaded; a running one must be the current one."""
        image = self.get(handle)
        if not image.started:
            self._remove(image)
            return Status.SUCCESS
        demand(image is self.current)
        if data and size and is_error(status):
            demand(size <= EXIT_DATA_LIMIT)
            image.exit_data = (self._copy_exit_data(data, size), size)
        raise Unwind(image, status)

    def _copy_exit_data(self, data: int, size: int) -> int:
        copy = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, size)
        self._guest.write(copy, self._guest.read(data, size))
        return copy

    def unload_image(self, handle: int) -> int | Steps:
        """UnloadImage (7.4.3): a started image is asked by its Unload function."""
        image = self.get(handle)
        if not image.started:
            self._remove(image)
            return Status.SUCCESS
        unload = self._guest.uintn(image.protocol + LoadedImageProtocol.leaf("Unload", self._guest.width).offset)
        demand(unload, Status.UNSUPPORTED)
        return self._unload(image, unload)

    def _unload(self, image: LoadedImage, function: int) -> Steps:
        status = yield Call(function, (image.handle,))
        if not is_error(status):
            self._remove(image)
        return status

    def _remove(self, image: LoadedImage) -> None:
        """Free the memory, close what the image had open, and take its protocols off its handle."""
        self._images.pop(image.handle, None)
        for interface in list(self._handles.all_interfaces()):
            interface.opens[:] = [e for e in interface.opens if image.handle not in (e.agent, e.controller)]
        for guid in (EFI_LOADED_IMAGE_PROTOCOL_GUID, EFI_LOADED_IMAGE_DEVICE_PATH_PROTOCOL_GUID, NOTHING_GUID):
            interface = self._handles.find(image.handle, guid)  # type: ignore[assignment]
            if interface is not None:
                self._handles.remove(interface)
        for address in (image.protocol, image.device_path):
            if self._pool.holds(address):
                self._pool.free(address)
        self._loader.remove(image.base, image.pages)

    def relocate_runtime(self, convert: Callable[[int], int | None]) -> None:
        """SetVirtualAddressMap: runtime drivers get the addresses that the operating system chose (8.4.1)."""
        for image in self._images.values():
            virtual = convert(image.base)
            if image.subsystem == RUNTIME_DRIVER and image.layout is not None and virtual is not None:
                self._loader.relocate(image.layout, image.base, virtual)
