"""The provider passes efishim's conformance kit, except where Firecracker violates the boot protocol."""

from __future__ import annotations

from typing import ClassVar

from efishim_firecracker.places import SYSTEM, SYSTEM_END
from efishim_firecracker.provider import Firecracker

from efishim.provider import MachineFacts, MemoryKind, MemoryRange
from efishim.testing import ProviderSuite

HIGH, SIZE = 0x10_0000, 64 << 20
MACHINE = MachineFacts(
    memory_map=(
        MemoryRange(0, SYSTEM, MemoryKind.RAM),
        MemoryRange(SYSTEM, HIGH - SYSTEM, MemoryKind.RESERVED),
        MemoryRange(HIGH, SIZE - HIGH, MemoryKind.RAM),
    ),
    rsdp=SYSTEM_END,
)
"""The machine that Firecracker builds."""


class TestFirecracker(ProviderSuite):
    provider = Firecracker()
    machine = MACHINE
    platform_options: ClassVar = {"bios_area": "1"}  # PVH guests search for the RSDP
    deviations: ClassVar = {
        "linux64/gdt": "Firecracker's GDT has its code segment at 8 and its data segment at 0x10",
        "linux64/selectors": "it enters with CS = 8, and 0x10 in the others",
    }
