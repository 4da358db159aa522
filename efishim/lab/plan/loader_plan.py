"""Plans the boot loader that runs in front of the kernel, and what is on its disk."""

from __future__ import annotations

import os
from collections.abc import Callable

from efishim.disk.fat import MOST_VOLUMES, FatVolume, File
from efishim.disk.medium import LARGEST, DiskError, Medium
from efishim.disk.partitions import read_partitions
from efishim.errors import ImageError, UsageError
from efishim.image.bzimage import is_bzimage
from efishim.image.cachedir import cache_directory
from efishim.lab.plan.loader_disk import LoaderPlan
from efishim.lab.plan.plan import Blob
from efishim.plugins import Registry
from efishim.provider import Loader, LoaderRequest, LoaderWay, assembled

DISK = "disk"
"""The name of whatever a disk image boots on its own."""
KERNEL = "\\vmlinuz"
BOOT_FILE = "\\EFI\\BOOT\\BOOTX64.EFI"
HEAD = 4096
MOST_LOOKED_AT, DEEPEST = 2048, 8
"""Files and directories of a volume that are looked at for a kernel."""
MOST_WORK = 1 << 22
"""Operations of the host (as FatVolume counts them) in which a kernel is looked for."""
MOST_NAMED, MOST_SAID = 8, 3
"""Kernels and problems of a disk that an error names."""


class _TooMuchWork(Exception):
    """No DiskError, which is what one damaged file is."""


class _Budget:
    def __init__(self, left: int) -> None:
        self._left = left

    def spend(self, operations: int) -> None:
        """Raises _TooMuchWork."""
        self._left -= operations
        if self._left < 0:
            raise _TooMuchWork


def split_loader(registry: Registry, text: str) -> tuple[Loader, LoaderWay]:
    """`LOADER` or `LOADER:WAY`. Raises UsageError naming those that exist."""
    name, colon, way = text.partition(":")
    loader = registry.loader(name)
    if not colon:
        return loader, loader.ways[0]
    found = next((one for one in loader.ways if one.name == way), None)
    if found is None:
        known = ", ".join(one.name for one in loader.ways)
        raise UsageError(f"the loader {name} has no way {way!r} to start a kernel", hint=f"it has: {known}")
    return loader, found


def plan_loader(
    registry: Registry,
    text: str,
    image: Blob,
    ramdisks: tuple[Blob, ...],
    cmdline: bytes,
) -> LoaderPlan:
    """The disk of a loader, with its programs, its configuration, the kernel and the ramdisks. Raises UsageError, ImageError,
    PluginError.
    """
    loader, way = split_loader(registry, text)
    paths = tuple(f"\\initrd{number or ''}.img" for number in range(len(ramdisks)))
    request = LoaderRequest(way.name, cmdline, KERNEL, paths)
    files = {one.path: _program(registry, loader, one.sources) for one in loader.programs}
    if BOOT_FILE not in files:
        raise UsageError(f"the loader {loader.name} has no program {BOOT_FILE}, so firmware would start nothing")
    for file in loader.configuration(request):
        files[file.path] = Blob.embedded(f"configuration of {loader.name}", file.data)
    files |= {KERNEL: image, **dict(zip(paths, ramdisks, strict=True))}
    for file in assembled(loader, request, lambda: {path: blob.read() for path, blob in files.items()}):
        files[file.path] = Blob.embedded(f"made by {loader.name}", file.data)
    return LoaderPlan(loader.name, way.name, tuple(files.items()))


def _program(registry: Registry, loader: Loader, sources: tuple[str, ...]) -> Blob:
    """The first of the sources that is there; what the last one says when none is. Raises ImageError."""
    error = ImageError(f"the loader {loader.name} names no source of its program")
    for source in sources:
        if os.path.isabs(source) and not os.path.exists(source):
            continue
        try:
            return Blob.from_file(source) if os.path.isabs(source) else _fetch(registry, source)
        except ImageError as failure:
            error = ImageError(f"the program of the loader {loader.name} is missing: {failure.sentence}", hint=failure.hint)
    raise error


def _fetch(registry: Registry, reference: str) -> Blob:
    """A file by the reference of an image source. Raises ImageError."""
    source = registry.image_sources.get(reference.partition(":")[0])
    if source is None:
        raise ImageError(f"there is no source of {reference}")
    found = source.find(reference, cache_directory(os.environ), lambda text: None)
    return Blob.from_file(found.path, label=found.label)


def plan_disk(path: str) -> LoaderPlan:
    """A disk image. Raises ImageError."""
    return LoaderPlan(DISK, disk=Blob.from_file(path, what="disk image that efishim takes", limit=LARGEST))


def image_of_disk(path: str) -> Blob:
    """The kernel on a disk; of one without a kernel the program that firmware starts. Raises ImageError, DiskError; UsageError
    for a disk with several kernels.
    """
    medium = Medium(plan_disk(path).disk.read())  # type: ignore[union-attr]
    problems: list[str] = []
    try:
        found, program = _look(medium, path, problems)
    except _TooMuchWork as error:
        raise DiskError("the directories of the disk are too large to look for a kernel in them") from error
    if len(found) > 1:
        names = ", ".join([one.label for one in found.values()][:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise UsageError(
            f"the disk has {len(found)} kernels: {names}{more}", hint="give the file of the one that it boots as KERNEL"
        )
    image = next(iter(found.values()), program)
    if image is None:
        detail = f" ({'; '.join(problems[:MOST_SAID])})" if problems else ""
        raise DiskError(
            f"{path} has no FAT volume with a kernel or with {BOOT_FILE}, so firmware would boot nothing from it{detail}"
        )
    return image


def _look(medium: Medium, path: str, problems: list[str]) -> tuple[dict[str, Blob], Blob | None]:
    """The kernels of a disk by their SHA-256, and the program that firmware starts; `problems` get what cannot be read. Raises
    DiskError, _TooMuchWork.
    """
    found: dict[str, Blob] = {}
    program: Blob | None = None
    total = 0
    for volume in volumes(medium, _Budget(MOST_WORK).spend, problems):
        for name, file in _walk(volume):
            if is_bzimage(volume.head(file, HEAD)):
                total += file.size
                if total > medium.size:
                    raise DiskError("the kernels on the disk have more bytes together than it, so that they share clusters")
                data = volume.read(file)
                found.setdefault(Blob.embedded("", data).sha256, Blob.embedded(f"{name} on {path}", data))
        try:
            if program is None and (boot := volume.find(BOOT_FILE)) is not None and not boot.directory:
                program = Blob.embedded(f"{BOOT_FILE} on {path}", volume.read(boot))
        except DiskError as error:
            problems.append(error.sentence)
    return found, program


def volumes(medium: Medium, spend: Callable[[int], None], problems: list[str]) -> list[FatVolume]:
    """The FAT volumes of a disk, as many as firmware uses; `spend` is told what reading them costs, `problems` get why others
    are none.
    """
    table = read_partitions(medium)
    problems += table.problems
    places = [(one.start, one.blocks) for one in table.partitions] or [(0, medium.blocks)]
    found = []
    for start, blocks in places:
        try:
            found.append(FatVolume(medium, start, blocks, spend))
        except DiskError as error:  # another file system, which the firmware reads as little
            problems.append(error.sentence)
    return found[:MOST_VOLUMES]


def _walk(volume: FatVolume) -> list[tuple[str, File]]:
    """The files of a volume with their paths, as many as are looked at; what is damaged is left out."""
    found: list[tuple[str, File]] = []
    waiting = [("", volume.root)]
    looked_at = 0
    while waiting and looked_at < MOST_LOOKED_AT:
        above, directory = waiting.pop(0)
        try:
            inside = volume.files(directory)
        except DiskError:
            continue
        for one in inside:
            looked_at += 1
            name = f"{above}\\{one.name}"
            if not one.directory:
                found.append((name, one))
            elif name.count("\\") < DEEPEST:
                waiting.append((name, one))
    return found
