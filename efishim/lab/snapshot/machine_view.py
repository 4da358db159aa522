"""The machine as a guest could discover it: memory map, CPUID, MSRs at power-on, ACPI tables."""

from __future__ import annotations

import hashlib

from efishim.lab.record import AcpiTableView, CpuidLeaf, Hex, MachineArea, MachineView, MsrValue
from efishim.lab.snapshot.structures import acpi_targets
from efishim.machine.machine import Machine
from efishim.machine.memory import PhysicalMemory
from efishim.platform.definition import PlatformFacts
from efishim.wire.acpi import Fadt
from efishim.wire.bootparams import E820_TYPES

FADT = b"FACP"
ROOTS = frozenset({"RSDP", "XSDT"})
"""They only say where the others are."""


def machine_view(machine: Machine, facts: PlatformFacts) -> MachineView:
    """Take the view before the guest runs."""
    numbers = getattr(machine.msrs, "numbers", ())
    values = {number: machine.msrs.read(number) for number in numbers} if machine.msrs is not None else {}
    return MachineView(
        memory_map=tuple(
            MachineArea(Hex(one.start), Hex(one.size), E820_TYPES.get(one.kind.value, "unknown")) for one in facts.memory_map
        ),
        features=dict(sorted(facts.features.items())),
        cpuid=(
            *(_leaf(leaf, None, answer) for leaf, answer in sorted(facts.cpuid.leaves.items())),
            *(_leaf(leaf, sub, answer) for (leaf, sub), answer in sorted(facts.cpuid.subleaves.items())),
        ),
        msrs=tuple(MsrValue(Hex(number), Hex(value)) for number, value in values.items() if value is not None),
        acpi=acpi_tables(machine.memory, facts.rsdp),
    )


def _leaf(leaf: int, subleaf: int | None, answer: tuple[int, int, int, int]) -> CpuidLeaf:
    eax, ebx, ecx, edx = map(Hex, answer)
    return CpuidLeaf(leaf=Hex(leaf), subleaf=None if subleaf is None else Hex(subleaf), eax=eax, ebx=ebx, ecx=ecx, edx=edx)


def acpi_tables(memory: PhysicalMemory, rsdp: int | None) -> tuple[AcpiTableView, ...]:
    """The tables by content. Where they lie is no part of what they say: pointers in the FADT, and the checksum that depends on
    them, are left out of the hash. Never raises.
    """
    views = []
    for target in acpi_targets(memory, rsdp) if rsdp else ():
        if target.name in ROOTS:
            continue
        data = bytearray(memory.read(target.address, target.size))
        if data[:4] == FADT and len(data) >= Fadt.SIZE:
            fadt = Fadt.parse(data)
            fadt.dsdt = fadt.x_dsdt = fadt.firmware_ctrl = fadt.x_firmware_ctrl = fadt.header.checksum = 0
            data[: Fadt.SIZE] = fadt.build()
        views.append(AcpiTableView(target.name, target.size, hashlib.sha256(data).hexdigest()))
    return tuple(views)
