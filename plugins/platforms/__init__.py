"""The machines that come with efishim, registered through the same door as anybody's."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.machine.cpu import Board
    from efishim.provider import OptionHelp, Platform


class Pc:
    """A bare PC, as firmware, loaders and kernels have known it since ACPI."""

    name = "pc"
    summary = "bare metal: UART, PIC, PIT, local APIC, I/O APIC, CMOS, ACPI, SMBIOS, PCI host bridge; no i8042, no VGA"
    options: tuple[OptionHelp, ...] = ()

    def build(self, board: Board, memory_size: int, epoch: int, options: Mapping[str, str]) -> Any:
        """Put the machine together; the platform room is imported only now."""
        return import_module("efishim.platform.pc").build(board, memory_size, epoch, options)


@hookimpl
def efishim_platforms() -> list[Platform]:
    """The platforms of this package."""
    return [Pc()]
