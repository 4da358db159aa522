"""The boot manager (UEFI 2.10, chapter 3): which program of a disk is started, by the variables BootNext and BootOrder.

The user says what Boot0000, Boot0001 and so on start; what stays of their effects is read back from the variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from efishim.disk.medium import DiskError
from efishim.errors import ImageError
from efishim.firmware.calling.device_path import MEDIA, Node, file_path, nodes, path_bytes
from efishim.firmware.calling.dispatch import Steps
from efishim.firmware.calling.status import EfiError, Status, is_error
from efishim.firmware.protocols.disks import HARD_DRIVE, BootFile, Disks
from efishim.firmware.services.images import Images
from efishim.firmware.services.loaded_image import LoadedImage, why_not_loaded
from efishim.firmware.services.variables import (
    BOOTSERVICE_ACCESS,
    NON_VOLATILE,
    RUNTIME_ACCESS,
    Variable,
    VariableStore,
)
from efishim.wire.guids import EFI_GLOBAL_VARIABLE
from efishim.wire.uefi import LOAD_OPTION_ACTIVE, LoadOption

ACCESS = NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS


@dataclass(frozen=True, slots=True)
class BootOption:
    """A program of the disk, `\\EFI\\debian\\grubx64.efi`, and the text that it gets as its load options."""

    path: str
    words: str = ""
    active: bool = True


@dataclass(frozen=True, slots=True)
class BootOptions:
    """Boot0000 and so on, all of them in BootOrder, and which of them BootNext names."""

    options: tuple[BootOption, ...] = ()
    next: int | None = None


class BootManager:
    """Chooses and starts programs of a disk. `failures` says which could not be started, and why."""

    def __init__(
        self,
        variables: VariableStore,
        disks: Disks,
        images: Images,
        place: Callable[[bytes], int],
        agent: int,
        default: str,
    ) -> None:
        """`place` puts bytes into the guest's memory; `default` is the program of a medium without boot options (3.5.1.1)."""
        self._variables, self._disks, self._images = variables, disks, images
        self._place, self._agent, self._default = place, agent, default
        self.failures = disks.problems

    def preset(self, given: BootOptions) -> None:
        """The variables that say so."""
        for number, option in enumerate(given.options):
            self._put(f"Boot{number:04X}", self._option(option))
        self._put("BootOrder", b"".join(number.to_bytes(2, "little") for number in range(len(given.options))))
        if given.next is not None:
            self._put("BootNext", given.next.to_bytes(2, "little"))

    def _option(self, option: BootOption) -> bytes:
        """An EFI_LOAD_OPTION (3.1.3) with the short form of a path, which begins with the partition (3.1.2)."""
        path = path_bytes(*self._partition(option.path), file_path(option.path))
        text = option.words.encode("utf-16-le", "surrogatepass")
        head = LoadOption(Attributes=LOAD_OPTION_ACTIVE if option.active else 0, FilePathListLength=len(path)).build()
        description = option.path.rpartition("\\")[2].encode("utf-16-le", "surrogatepass") + b"\0\0"
        return head + description + path + (text + b"\0\0" if text else b"")

    def _partition(self, name: str) -> tuple[Node, ...]:
        """The node of the first volume that has the file; none where no partition has it."""
        for place in self._disks.places:
            try:
                if place.volume.find(name) is not None:
                    return tuple(node for node in place.path if (node.type, node.subtype) == (MEDIA, HARD_DRIVE))
            except DiskError:
                continue
        return ()

    def _put(self, name: str, data: bytes, *, read_only: bool = False) -> None:
        attributes = ACCESS & ~NON_VOLATILE if read_only else ACCESS
        self._variables.preset(Variable(EFI_GLOBAL_VARIABLE, name, attributes, data, read_only))

    def _get(self, name: str) -> bytes:
        try:
            return self._variables.get(EFI_GLOBAL_VARIABLE, name, at_runtime=False).data
        except EfiError:
            return b""

    def _numbers(self) -> Iterator[int]:
        """BootNext, which is deleted before it is used (3.3), then BootOrder."""
        following = self._get("BootNext")
        if len(following) == 2:
            self._variables.set(EFI_GLOBAL_VARIABLE, "BootNext", 0, b"", at_runtime=False)
            yield int.from_bytes(following, "little")
        order = self._get("BootOrder")
        yield from (int.from_bytes(order[at : at + 2], "little") for at in range(0, len(order) - 1, 2))

    def programs(self) -> Iterator[LoadedImage]:
        """Those that can be loaded, one after the other, in the order in which they are tried; the default comes last. Raises
        DiskError, ImageError when there is nothing left.
        """
        started: set[tuple[int, str]] = set()
        for number in self._numbers():
            name = f"Boot{number:04X}"
            data = self._get(name)
            attributes = LoadOption.parse(data[: LoadOption.SIZE]).Attributes if len(data) >= LoadOption.SIZE else 0
            if data and not attributes & LOAD_OPTION_ACTIVE:
                continue  # the boot manager does not try it by itself (3.1.3, LOAD_OPTION_ACTIVE)
            try:
                file, optional = self._file(data)
                image = self._load(file, optional)
            except (EfiError, DiskError) as error:
                self.failures.append(f"{name} is not started: {_why(error)}")
                continue
            self._put("BootCurrent", number.to_bytes(2, "little"), read_only=True)
            started.add((file.place.handle, file.name.lower()))
            yield image
        file = self._disks.boot_file(self._default)
        if (file.place.handle, file.name.lower()) in started:
            return
        try:
            yield self._load(file, b"")
        except EfiError as error:
            raise ImageError(f"{self._default} of the disk cannot be started: {why_not_loaded(error.status)}") from error

    def _load(self, file: BootFile, optional: bytes) -> LoadedImage:
        origin = file.origin(self._agent)
        if optional:
            origin = replace(origin, options=(self._place(optional), len(optional)))
        return self._images.load(file.data, origin)

    def _file(self, data: bytes) -> tuple[BootFile, bytes]:
        """The program that a load option names, and its optional data. Raises EfiError, DiskError."""
        if not data:
            raise DiskError("there is no such variable")
        head = LoadOption.parse(data[: LoadOption.SIZE])
        end = next((at for at in range(LoadOption.SIZE, len(data) - 1, 2) if data[at : at + 2] == b"\0\0"), None)
        if end is None or end + 2 + head.FilePathListLength > len(data):
            raise EfiError(Status.INVALID_PARAMETER)
        path = data[end + 2 : end + 2 + head.FilePathListLength]
        return self._disks.program(tuple(nodes(path))[:-1], self._default), data[end + 2 + head.FilePathListLength :]

    def run(self, first: LoadedImage, rest: Iterator[LoadedImage], before: Callable[[], None]) -> Steps:
        """Start a program, and the next ones as long as they return an error (3.1.1); gives what the last one returned."""
        image: LoadedImage | None = first
        status = int(Status.NOT_FOUND)
        while image is not None:
            before()
            status = yield from self._images.run(image)
            if not is_error(status):
                break
            self.failures.append(f"a program of the disk returned {Status.describe(status)}")
            try:
                image = next(rest, None)
            except (DiskError, ImageError) as error:
                self.failures.append(f"nothing else is started: {error.sentence}")
                break
        return status


def _why(error: EfiError | DiskError) -> str:
    return error.sentence if isinstance(error, DiskError) else why_not_loaded(error.status)
