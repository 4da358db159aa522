"""A unified kernel image: `--loader uki`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import Loader


@hookimpl
def efishim_loaders() -> list[Loader]:
    """The one loader of this package."""
    from efishim_plugins.uki.loader import UnifiedKernelImage

    return [UnifiedKernelImage()]
