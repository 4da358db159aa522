"""What the firmware keeps of an image that is in memory, and what it tells the image of where it came from (UEFI 2.10, 9.1)."""

from __future__ import annotations

from dataclasses import dataclass, field

from efishim.firmware.calling.status import Status
from efishim.image.pe import PeLayout


@dataclass(slots=True, eq=False)
class LoadedImage:
    """An image in memory. `layout` keeps what relocation needs when a runtime driver moves again; an image that was
    put into memory by its loader has none, and no `pages` that unloading it could free.
    """

    handle: int
    protocol: int
    device_path: int
    base: int
    pages: int
    entry: int
    subsystem: int
    size: int
    """Bytes of memory that the image asked for."""
    layout: PeLayout | None = None
    started: bool = False
    status: int = 0
    exit_data: tuple[int, int] = (0, 0)
    tpl: int = 0
    parent: LoadedImage | None = field(default=None)


@dataclass(frozen=True, slots=True)
class Origin:
    """What an image's protocols say about where it came from: `path_data` are the bytes of its device path, `file_path` the
    address of the part behind `device` (0: all of the path but its first `device_part` bytes, None: NULL), `options` (address,
    bytes) of its LoadOptions.
    """

    parent: int = 0
    path_data: bytes = b""
    device: int = 0
    device_part: int = 0
    file_path: int | None = 0
    options: tuple[int, int] = (0, 0)


NOWHERE = Origin()


def file_path_of(origin: Origin, image: LoadedImage) -> int:
    """FilePath of the image's LoadedImage."""
    if origin.file_path is None:
        return 0
    return origin.file_path or (image.device_path and image.device_path + origin.device_part)


def why_not_loaded(status: Status) -> str:
    """What `load` raised, in words."""
    reasons = {
        Status.UNSUPPORTED: "the image is not an EFI program for this machine",
        Status.OUT_OF_RESOURCES: "the image does not fit the memory of the machine",
    }
    return reasons.get(status, f"the firmware cannot load the image: EFI_{status.name}")
