"""EFI_RNG_PROTOCOL for the shim, registered through the public entry-point group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import FirmwareProtocol


@hookimpl
def efishim_firmware_protocols() -> list[FirmwareProtocol]:
    """The one protocol of this package."""
    from efishim_plugins.rng.protocol import RngProtocol

    return [RngProtocol()]
