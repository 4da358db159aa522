"""boot_params with a hardware subarchitecture, the thread's proposal."""

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
