"""What a plugin says of a real boot loader: a program that runs in the machine in front of the kernel and starts it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from efishim.provider.interfaces import Specification


@dataclass(frozen=True, slots=True)
class Program:
    """A file of a boot loader. `path` is its place on the disk; `sources` are where it is found: absolute paths of files that
    an installed package has, and references of image sources (`deb:PACKAGE/FILE`). The first that is there is taken.
    """

    path: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoaderWay:
    """One way in which a loader can be told to start a kernel. The entry that it really uses shows in the run."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class LoaderRequest:
    """What the loader is to do. Paths are those of files on its disk, with backslashes from the root on."""

    way: str
    command_line: bytes
    kernel: str
    ramdisks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoaderFile:
    """A file of a loader's configuration, by its path on the disk."""

    path: str
    data: bytes


class Loader(Protocol):
    """A real boot loader for EFI firmware. Its program is what the firmware starts: `\\EFI\\BOOT\\BOOTX64.EFI` of its disk, on
    which the kernel and the ramdisks lie too. The first of its `ways` is the default.
    """

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    @property
    def specifications(self) -> tuple[Specification, ...]:
        """Its documents."""

    @property
    def limits(self) -> tuple[str, ...]:
        """What it does not do here, one sentence each."""

    @property
    def ways(self) -> tuple[LoaderWay, ...]:
        """How it can start a kernel."""

    @property
    def programs(self) -> tuple[Program, ...]:
        """Its files."""

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        """The files that tell it what to boot. Raises UsageError for what it cannot be told."""


def assembled(loader: Loader, request: LoaderRequest, files: Callable[[], Mapping[str, bytes]]) -> tuple[LoaderFile, ...]:
    """Files that are made of the others on the disk. A loader does so in a method `assemble(request, files)`, with the contents
    of programs, configuration, kernel and ramdisks by their paths; what it gives is put in the place of files with the same
    path. Without one, nothing is made.
    """
    assemble = getattr(loader, "assemble", None)
    return () if assemble is None else tuple(assemble(request, files()))
