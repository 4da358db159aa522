"""The firmware protocols of plugins in a run. One that fails is named in the record and ends nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from efishim.plugins import attempt
from efishim.provider import FirmwareProtocol


def install_protocols(protocols: Iterable[FirmwareProtocol], shim: Any) -> list[str]:
    """Put the protocols of plugins into the shim. Gives notes about those that failed."""
    notes = []
    for protocol in protocols:
        problem = attempt(partial(protocol.install, shim))
        if problem:
            notes.append(f"the firmware protocol {protocol.name} failed: {problem}")
    return notes
