"""The part of a plan that says which boot loader runs in front of the kernel, and what is on its disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec import UNSET

from efishim.disk.make import make_disk
from efishim.disk.medium import Medium
from efishim.lab.record import LoaderUse

if TYPE_CHECKING:
    from efishim.lab.plan.plan import Blob


@dataclass(frozen=True, slots=True)
class LoaderPlan:
    """A loader and the files of the disk that is made for it; or a disk image, which brings both."""

    name: str
    way: str = ""
    files: tuple[tuple[str, Blob], ...] = ()
    disk: Blob | None = None

    @property
    def label(self) -> str:
        """What a run with it is called before it is known which entry it takes."""
        return f"{self.name}:{self.way}" if self.way else self.name

    @property
    def words(self) -> tuple[str, str]:
        """The option that makes this plan again."""
        if self.disk is not None:
            return "--disk", self.disk.label
        return "--loader", self.label

    def medium(self, *, writable: bool) -> Medium:
        """The disk. Raises ImageError and DiskError."""
        if self.disk is not None:
            return Medium(self.disk.read(), writable=writable)
        return Medium(make_disk({path: blob.read() for path, blob in self.files}), writable=writable)

    def use(self) -> LoaderUse:
        """How a record names it."""
        return LoaderUse(
            name=self.name,
            way=self.way or UNSET,
            files={path: blob.as_file() for path, blob in self.files},
            disk=self.disk.as_file() if self.disk is not None else UNSET,
        )
