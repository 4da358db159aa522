"""What differs in the kernel's state where the EFI entry and the PVH entry meet, as `efishim why` lists it."""

from __future__ import annotations

from dataclasses import dataclass

from efishim.errors import EfishimError
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob, shell_word
from efishim.plugins import Registry

VARIABLE = "kernel variable "
"""Beginning of the names of such items."""
ENTRIES = ("efi", "pvh")


@dataclass(frozen=True, slots=True)
class MeetingFacts:
    """Items by their names. No code of the kernel proper runs before on the EFI entry: its variables are changed by the PVH
    entry alone.
    """

    items: tuple[str, ...] = ()
    command: str = ""
    reason: str = ""
    """Why it is not known; empty if it is."""

    @property
    def known(self) -> bool:
        """Was it looked for, and do the two ways meet?"""
        return not self.reason

    @property
    def variables(self) -> list[str]:
        """Of the kernel."""
        return [name.removeprefix(VARIABLE) for name in self.items if name.startswith(VARIABLE)]

    @property
    def fields(self) -> list[str]:
        """Of boot_params."""
        return [name for name in self.items if name.startswith("boot_params.")]


NOBODY = MeetingFacts(reason="nobody looked at the point where the two ways meet")


def find_meeting(registry: Registry, blob: Blob, *, interrupt: Interrupt | None) -> MeetingFacts:
    """Boot both ways to the meeting point. What goes wrong is the reason for which nothing is known."""
    from efishim.why.build import plain_plan  # noqa: PLC0415 - these import the machine, which reading a study needs not
    from efishim.why.items import difference  # noqa: PLC0415
    from efishim.why.side import arrive, meet  # noqa: PLC0415

    try:
        words = (Words(provider="hvmlite", entry=entry, platform="hvmlite") for entry in ENTRIES)
        made = [plain_plan(make_plan(registry, lambda: blob, one)) for one in words]
        one, other = (arrive(plan, registry, interrupt=interrupt) for plan in made)
        meet(one, other)
        items = tuple(item.name for item in difference(one, other))
    except EfishimError as error:
        return MeetingFacts(reason=error.sentence)
    return MeetingFacts(items, f"efishim why {shell_word(blob.label)} hvmlite/efi hvmlite/pvh --platform hvmlite")
