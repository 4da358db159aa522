"""The firmware profiles that come with efishim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import FirmwareProfile


@hookimpl
def efishim_profiles() -> list[FirmwareProfile]:
    """The files of efishim/firmware/profiles."""
    from efishim.firmware.profile_files import read_profile, shipped
    from efishim.provider import FirmwareProfile

    return [
        FirmwareProfile(name, read_profile(data, name=name).summary, data.decode("utf-8")) for name, data in shipped().items()
    ]
