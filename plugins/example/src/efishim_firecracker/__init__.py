"""Firecracker's loader as a provider for efishim."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import Provider


@hookimpl
def efishim_providers() -> list[Provider]:
    """The hook that efishim asks. What it needs is imported here, since every command of efishim loads this module."""
    from efishim_firecracker.provider import Firecracker

    return [Firecracker()]
