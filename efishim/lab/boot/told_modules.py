"""Judges whether the native structure passes the command lines of modules, by reading it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.errors import RouteError

if TYPE_CHECKING:
    from efishim.provider import GuestMemory, Handover, Module, Provider


def require_told(provider: Provider, modules: tuple[Module, ...], memory: GuestMemory, handover: Handover) -> None:
    """Raises RouteError when a command line was given to a module and the structure does not have it."""
    if not any(one.command_line for one in modules):
        return
    told = {one.start: one.command_line for one in provider.read_back(memory, handover).modules}
    for one in modules:
        if one.command_line and told.get(one.start) != one.command_line:
            raise RouteError(
                f"the provider {provider.name} does not pass the command line of a module",
                hint="multiboot, multiboot2 and hvmlite have a field for it",
            )
