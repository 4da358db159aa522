"""kexec as a provider: boot_params as filled in by kexec_file_load."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import Provider


@hookimpl
def efishim_providers() -> list[Provider]:
    """The one provider of this package."""
    from efishim_plugins.kexec.provider import Kexec

    return [Kexec()]
