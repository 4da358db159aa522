"""boot_params with a hardware subarchitecture, as proposed in the 2016 thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import Provider


@hookimpl
def efishim_providers() -> list[Provider]:
    """The one provider of this package."""
    from efishim_plugins.subarch.provider import Subarch

    return [Subarch()]
