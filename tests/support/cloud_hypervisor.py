"""Cloud Hypervisor's loader as a provider, as faithful as Firecracker's (plugins/example), with which it shares its places.

Facts: its public sources, arch/src/x86_64/{layout,mod,regs}.rs. It starts bzImages at the 32-bit entry with the same segments
as PVH guests.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from efishim_firecracker import processor
from efishim_firecracker.places import COMMAND_LINE, GDT, MMCONFIG_SIZE, RAM, RESERVED, STACK, ZERO_PAGE, Row, put
from efishim_firecracker.provider import Firecracker

from efishim.errors import ProviderError
from efishim.provider import (
    Arena,
    BootRequest,
    CpuState,
    Entry,
    GuestMemory,
    Handover,
    Loaded,
    MachineFacts,
    MemoryKind,
    MemoryRange,
    Specification,
    Structure,
)

EBDA, EBDA_POINTER = 0xA_0000, 0x40E
HIGH, SIZE = 0x10_0000, 64 << 20
COMMAND_LINE_SIZE = 0x1_0000
MMCONFIG = 0xC000_0000 + (640 << 20)

MACHINE = MachineFacts(
    memory_map=(
        MemoryRange(0, EBDA, MemoryKind.RAM),
        MemoryRange(EBDA, HIGH - EBDA, MemoryKind.RESERVED),
        MemoryRange(HIGH, SIZE - HIGH, MemoryKind.RAM),
    ),
    rsdp=EBDA,
    smbios=0xF_0000,
)
"""The machine that it builds."""


class CloudHypervisor(Firecracker):
    """Entries `pvh` and `linux32`."""

    name = "cloud-hypervisor"
    summary = "Cloud Hypervisor's loader: hvm_start_info or boot_params at fixed addresses"
    structure = "hvm_start_info"
    specifications = (
        Specification("Cloud Hypervisor, arch/src/x86_64", "https://github.com/cloud-hypervisor/cloud-hypervisor"),
    )
    entries: ClassVar = (
        Entry("pvh", "the PVH entry of vmlinux", through_shim=False),
        Entry("linux32", "the 32-bit entry of a bzImage", through_shim=False),
    )

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """As PVH has it; boot_params comes with the same descriptor table. ACPICA finds the EBDA by its pointer."""
        put(memory, arena, EBDA_POINTER, (EBDA >> 4).to_bytes(2, "little"), "the EBDA's segment")
        line = request.command_line
        if len(line) >= COMMAND_LINE_SIZE or not all(0x20 <= byte < 0x7F for byte in line):
            raise ProviderError(f"Cloud Hypervisor takes up to {COMMAND_LINE_SIZE - 1} printable characters of command line")
        put(memory, arena, COMMAND_LINE, line + b"\0", "the command line")
        put(memory, arena, GDT, processor.PVH_GDT, "the GDT")
        return (self._start_info if request.entry == "pvh" else self._boot_params)(request, memory, arena)

    def memory_map(self, request: BootRequest) -> list[Row]:
        """Low memory, RAM from 1 MiB on, PCI's configuration space."""
        ram = [one for one in request.facts.memory_map if one.kind is MemoryKind.RAM and one.end > HIGH]
        rows = [(max(one.start, HIGH), one.end - max(one.start, HIGH), RAM) for one in ram]
        return [(0, EBDA, RAM), *rows, (MMCONFIG, MMCONFIG_SIZE, RESERVED)]

    def start_info_rsdp(self, request: BootRequest) -> int:
        """It is told."""
        return request.facts.rsdp or 0

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """No page tables."""
        found = super().structures(memory, handover)
        return tuple(one for one in found if one.name != "page tables")

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """32-bit protected mode."""
        state = processor.protected_mode(loaded.entry_point)
        if entry == "pvh":
            return state
        tables = {name: value for name, value in state.registers.items() if "." in name}
        return replace(state, registers={"rsi": ZERO_PAGE, "rsp": STACK, "eflags": 2, **tables})
