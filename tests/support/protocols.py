"""The firmware protocols that come with efishim as plugins, for tests that build a shim without a run."""

from __future__ import annotations

from efishim.firmware.calling.functions import Function
from efishim.firmware.shim import Shim
from efishim.plugins import load_plugins

SHIPPED = load_plugins().firmware_protocols
FUNCTIONS: tuple[Function, ...] = tuple(function for protocol in SHIPPED for function in protocol.functions)


def add_shipped(shim: Shim) -> None:
    """What a run does, but that nothing is caught."""
    for protocol in SHIPPED:
        protocol.install(shim)
