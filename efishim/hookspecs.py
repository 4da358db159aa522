"""The hooks of the entry-point group `efishim_v1`. Each returns a list; objects are described in efishim/provider.py.

A plugin is a module with functions of these names, decorated with `hookimpl`, and named in its package's metadata:

    [project.entry-points.efishim_v1]
    mine = "my_package"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from efishim.provider import FirmwareProtocol, Observer, Platform, Provider, ReportFormat

NAMESPACE = "efishim"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@hookspec
def efishim_providers() -> list[Provider]:  # type: ignore[empty-body]
    """Producers of boot information, for `-p NAME`."""


@hookspec
def efishim_platforms() -> list[Platform]:  # type: ignore[empty-body]
    """Machines that the guest finds, for `--platform NAME`."""


@hookspec
def efishim_firmware_protocols() -> list[FirmwareProtocol]:  # type: ignore[empty-body]
    """EFI protocols that the shim offers beside its own."""


@hookspec
def efishim_observers() -> list[Observer]:  # type: ignore[empty-body]
    """Observers of a run; called once for each run, so give new objects each time."""


@hookspec
def efishim_reports() -> list[ReportFormat]:  # type: ignore[empty-body]
    """Ways to write a record, for `--format NAME`."""


@hookspec
def efishim_commands() -> list[click.Command]:  # type: ignore[empty-body]
    """Commands beside those of efishim itself."""
