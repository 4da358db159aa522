"""Changes to a hand-over, for providers that are broken in one way (tests.support.others)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

from efishim.provider import BootRequest, CpuState, Handover


def registers(**values: int) -> Callable[[CpuState], CpuState]:
    """Other registers."""
    return lambda state: dataclasses.replace(state, registers={**state.registers, **values})


def segment(name: str, **parts: int) -> Callable[[CpuState], CpuState]:
    """Another segment register."""

    def change(state: CpuState) -> CpuState:
        changed = dataclasses.replace(state.segments[name], **parts)
        return dataclasses.replace(state, segments={**state.segments, name: changed})

    return change


def writes(offset: int, data: bytes) -> Callable[[Handover, BootRequest, Any], Handover]:
    """Other bytes in the native structure."""

    def change(handover: Handover, _request: BootRequest, memory: Any) -> Handover:
        assert handover.address is not None
        memory.write(handover.address + offset, data)
        return handover

    return change


def without(error: Exception) -> NoReturn:
    """Nothing but an exception."""
    raise error
