"""The machines that come with efishim, registered through the same door as anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.platform.profile import Profile
    from efishim.provider import Platform


@hookimpl
def efishim_platforms() -> list[Platform]:
    """The platforms of this package."""
    from plugins.platforms.shipped import Shipped

    return [Shipped("pc", "bare metal: EFI firmware, serial console, ACPI; no display, keyboard or disks", _pc)]


def _pc() -> Profile:
    from efishim.platform.pc import PC

    return PC
