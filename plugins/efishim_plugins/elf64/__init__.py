"""The 64-bit entry of a Linux kernel's ELF file, as virtual machine monitors use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.provider import EntryKind


@hookimpl
def efishim_entries() -> list[EntryKind]:
    """The one entry of this package."""
    from efishim_plugins.elf64.entry import Elf64

    return [Elf64()]
