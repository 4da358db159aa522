"""Kinds of entries that plugins bring: how one is found in an image, how the image is loaded, what must hold there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from efishim.image.entries import Door
    from efishim.image.loading import LoadPlan, Room
    from efishim.image.opened import Image
    from efishim.provider.checking import Findings, Moment, Requirement
    from efishim.provider.interfaces import Specification


class EntryKind(Protocol):
    """An entry that images can have, in addition to those of efishim's own, and its ABI checker.

    Providers drive it by naming it among their `entries`. It is a native entry: no firmware is between the provider and the
    image.
    """

    @property
    def name(self) -> str:
        """The name on the command line, in routes and in records."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    @property
    def specifications(self) -> tuple[Specification, ...]:
        """The documents that say what holds at the entry."""

    @property
    def follows(self) -> str:
        """An entry of efishim's own whose ABI rules hold here too; empty for none. `linux64` and `linux32` bring the rules of
        boot_params with them.
        """

    @property
    def leaves_out(self) -> tuple[str, ...]:
        """Ids of those of its rules that do not hold here: `linux64/entry-point`, for an entry that is somewhere else."""

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """The ABI rules of its own. Their ids begin with its name: `NAME/entry-point`."""

    def find(self, image: Image) -> Door:
        """The entry in this image: where it is, or the reason why there is none. May raise ImageError, which is a reason."""

    def load(self, image: Image, room: Room, *, high: bool) -> LoadPlan:
        """Where the image goes in memory, taken from `room`, and its first instruction. `high` asks for the highest place, if
        the image can be moved. Raises ImageError, and ProviderError when memory lacks.
        """

    def check(self, moment: Moment, findings: Findings) -> None:
        """Hold its own requirements against a moment, `findings.demand(rule, holds, found)` for each. Must not raise for what
        guest memory holds.
        """
