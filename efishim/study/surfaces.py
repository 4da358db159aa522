"""The surface as experiments use it, whichever way it was obtained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from efishim.errors import EfishimError, UsageError
from efishim.lab.cache.records import RecordCache
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob
from efishim.lab.record import Milestone
from efishim.plugins import Registry
from efishim.surface import CMDLINE
from efishim.surface.model import Mark, Surface, decode
from efishim.surface.surface import surface
from efishim.surface.trials import NoSurfaceProgress


@dataclass(frozen=True, slots=True)
class SurfaceFacts:
    """What of the firmware a kernel needs on its EFI entry. Without a search, `reason` says why there is none."""

    route: str = ""
    needed: tuple[str, ...] = ()
    """Services, protocols, tables and fields without any one of which the kernel does not reach its goal."""
    used: tuple[str, ...] = ()
    """Asked for and answered, but the kernel comes through without."""
    probed: tuple[str, ...] = ()
    """Asked for, and the kernel was content with hearing that there is none."""
    untouched: tuple[str, ...] = ()
    consequences: Mapping[str, str] = field(default_factory=dict)
    """What the kernel does without one of the needed."""
    refusing: tuple[str, ...] = ()
    """Of the needed: those that must be there, but may answer with an error and do nothing."""
    trials: int = 0
    sufficient: bool = False
    """A run with the needed alone reached the goal."""
    minimal: bool = False
    """Each further removal was run and stopped the boot."""
    command: str = ""
    reason: str = ""

    @property
    def known(self) -> bool:
        """Was it found?"""
        return not self.reason


def find_surface(
    registry: Registry, blob: Blob, *, jobs: int, interrupt: Interrupt | None, cache: RecordCache | None = None
) -> SurfaceFacts:
    """Search, on the machine's own firmware. What goes wrong is the reason for which there is none."""
    plan = make_plan(registry, lambda: blob, Words(until=Milestone.USERSPACE.value, cmdline=CMDLINE))
    try:
        found = surface(plan, registry=registry, jobs=jobs, progress=NoSurfaceProgress(), interrupt=interrupt, cache=cache)
    except EfishimError as error:
        return SurfaceFacts(reason=error.sentence)
    return facts_of(found)


def read_surface(data: bytes, name: str) -> tuple[str, SurfaceFacts]:
    """A surface that was found earlier, and the SHA-256 of the image that it is of. Raises UsageError."""
    try:
        found = decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is not a surface: {error}") from error
    return found.image.sha256, facts_of(found)


def facts_of(found: Surface) -> SurfaceFacts:
    """What the experiments look at."""
    if not found.complete:
        return SurfaceFacts(reason="the search was interrupted")

    def marked(mark: Mark) -> tuple[str, ...]:
        return tuple(one.item.text for one in found.marked(mark))

    return SurfaceFacts(
        route=f"{found.route.provider}/{found.route.entry}@{found.route.platform}",
        needed=marked(Mark.NEEDED),
        used=marked(Mark.USED),
        probed=marked(Mark.PROBED),
        untouched=marked(Mark.UNTOUCHED),
        refusing=tuple(one.item.text for one in found.findings if one.refusal),
        consequences={one.item.text: effect.sentence for one in found.findings for effect in one.effects[:1]},
        trials=found.proof.trials,
        sufficient=found.proof.sufficient,
        minimal=found.proof.minimal,
        command=found.reproduce,
    )
