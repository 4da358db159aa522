"""Kernels in Debian packages: `deb:PACKAGE`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import ImageSource


@hookimpl
def efishim_image_sources() -> list[ImageSource]:
    """The one source of this package."""
    from efishim_plugins.deb.source import Deb

    return [Deb()]
