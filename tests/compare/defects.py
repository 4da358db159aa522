"""Defects put into the firmware's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from efishim.firmware.memory import placement
from efishim.firmware.memory.memory_map import MemoryMap, MemoryType

BASE, MIB = 0x400_0000, 1 << 20
Inject = Callable[[pytest.MonkeyPatch], None]


def kept(memory_type: MemoryType, size: int) -> Inject:
    """The firmware keeps a piece of free memory as what it is not."""

    def inject(patch: pytest.MonkeyPatch) -> None:
        real = placement.build_map

        def build_map(*arguments: Any, **named: Any) -> MemoryMap:
            memory_map = real(*arguments, **named)
            memory_map.fix(BASE, BASE + size, memory_type)
            return memory_map

        patch.setattr(placement, "build_map", build_map)

    return inject


def free_runtime(patch: pytest.MonkeyPatch) -> None:
    """The firmware tells memory of its runtime services as free."""
    real = MemoryMap.descriptors

    def descriptors(self: MemoryMap) -> Any:
        kinds: dict[int, int] = {MemoryType.RUNTIME_SERVICES_DATA: MemoryType.CONVENTIONAL}
        return [replace(one, type=kinds.get(one.type, one.type)) for one in real(self)]

    patch.setattr(MemoryMap, "descriptors", descriptors)


DEFECTS: Mapping[str, Inject] = {
    "64 MiB reserved": kept(MemoryType.RESERVED, 64 * MIB),
    "67 MiB as runtime data": kept(MemoryType.RUNTIME_SERVICES_DATA, 67 * MIB),
    "1 MiB as ACPI NVS": kept(MemoryType.ACPI_NVS, MIB),
    "runtime data as free memory": free_runtime,
}
