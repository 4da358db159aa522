"""The hooks of the entry-point group `efishim_v1`. Each returns a list of objects defined in efishim/provider/.

A plugin is a module that implements some of these functions, decorates them with `hookimpl`, and is registered in the metadata
of its package:

    [project.entry-points.efishim_v1]
    mine = "my_package"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from efishim.provider import (
        EntryKind,
        FirmwareProfile,
        FirmwareProtocol,
        ImageSource,
        Loader,
        Observer,
        Platform,
        Provider,
        ReportFormat,
        RuleSet,
    )

NAMESPACE = "efishim"

hookspec = pluggy.HookspecMarker(NAMESPACE)
hookimpl = pluggy.HookimplMarker(NAMESPACE)


@hookspec
def efishim_providers() -> list[Provider]:  # type: ignore[empty-body]
    """Register producers of boot information, for `-p NAME`."""


@hookspec
def efishim_platforms() -> list[Platform]:  # type: ignore[empty-body]
    """Register machines to emulate, for `--platform NAME`."""


@hookspec
def efishim_loaders() -> list[Loader]:  # type: ignore[empty-body]
    """Register real boot loaders, for `--loader NAME`."""


@hookspec
def efishim_entries() -> list[EntryKind]:  # type: ignore[empty-body]
    """Register entries that images can have, each with its ABI checker, for `-e NAME` with providers that drive them."""


@hookspec
def efishim_firmware_protocols() -> list[FirmwareProtocol]:  # type: ignore[empty-body]
    """Register EFI protocols that the shim offers in addition to its own."""


@hookspec
def efishim_rules() -> list[RuleSet]:  # type: ignore[empty-body]
    """Register rules that classify differences in `efishim compare`, in addition to efishim's own."""


@hookspec
def efishim_image_sources() -> list[ImageSource]:  # type: ignore[empty-body]
    """Register sources of images, for `efishim run NAME:REFERENCE`."""


@hookspec
def efishim_profiles() -> list[FirmwareProfile]:  # type: ignore[empty-body]
    """Register profiles of EFI firmware, for `--profile NAME`."""


@hookspec
def efishim_observers() -> list[Observer]:  # type: ignore[empty-body]
    """Register observers of a run. The hook is called once per run and has to return new objects each time."""


@hookspec
def efishim_reports() -> list[ReportFormat]:  # type: ignore[empty-body]
    """Register output formats of a record, for `--format NAME`."""


@hookspec
def efishim_commands() -> list[click.Command]:  # type: ignore[empty-body]
    """Register additional commands."""
