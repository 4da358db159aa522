"""The machine as the guest can find it, whether it looks or not: memory map, CPUID, MSRs at power-on, ACPI tables."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from msgspec import Struct

from efishim.lab.record import hexadecimal
from efishim.lab.snapshot.structures import acpi_targets
from efishim.machine.machine import Machine
from efishim.machine.memory import PhysicalMemory
from efishim.platform.definition import PlatformFacts
from efishim.wire.acpi import Fadt
from efishim.wire.bootparams import E820_TYPES

FADT = b"FACP"
ROOTS = frozenset({"RSDP", "XSDT"})
"""They only say where the others are."""


class TableView(Struct, frozen=True):
    """One ACPI table: signature, bytes, hash."""

    signature: str
    size: int
    sha256: str


class MachineView(Struct, frozen=True):
    """Numbers that may be addresses or register values are hexadecimal strings."""

    memory_map: tuple[dict[str, str], ...]
    features: dict[str, int]
    """The platform's switches."""
    cpuid: dict[str, str]
    """`leaf` or `leaf.subleaf` to EAX, EBX, ECX and EDX."""
    msrs: dict[str, str]
    acpi: tuple[TableView, ...]

    def document(self) -> dict[str, Any]:
        """As the record carries it."""
        document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return document


def machine_view(machine: Machine, facts: PlatformFacts) -> MachineView:
    """Take the view before the guest runs."""
    cpuid = {f"{leaf:#x}": _registers(value) for leaf, value in sorted(facts.cpuid.leaves.items())}
    cpuid |= {f"{leaf:#x}.{sub:#x}": _registers(value) for (leaf, sub), value in sorted(facts.cpuid.subleaves.items())}
    numbers = getattr(machine.msrs, "numbers", ())
    values = {number: machine.msrs.read(number) for number in numbers} if machine.msrs is not None else {}
    return MachineView(
        memory_map=tuple(
            {"start": hexadecimal(one.start), "size": hexadecimal(one.size), "type": E820_TYPES.get(one.kind.value, "unknown")}
            for one in facts.memory_map
        ),
        features=dict(sorted(facts.features.items())),
        cpuid=cpuid,
        msrs={hexadecimal(number): hexadecimal(value) for number, value in values.items() if value is not None},
        acpi=acpi_tables(machine.memory, facts.rsdp),
    )


def _registers(value: tuple[int, int, int, int]) -> str:
    return " ".join(f"{register:#x}" for register in value)


def acpi_tables(memory: PhysicalMemory, rsdp: int | None) -> tuple[TableView, ...]:
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
        views.append(TableView(target.name, target.size, hashlib.sha256(data).hexdigest()))
    return tuple(views)
