"""Checks the ACPI root pointer, which several structures can refer to."""

from __future__ import annotations

from efishim.machine.memory import BusError, PhysicalMemory
from efishim.provider.checking import Findings, Requirement
from efishim.wire.acpi import RSDP_SIGNATURE, Rsdp, Rsdp1

LARGEST = 0x1000


def rule(name: str, field: str, reference: str) -> Requirement:
    """The rule for one structure's pointer."""
    return Requirement(name, f"{field} is null or points to an RSDP whose bytes add up to 0", reference)


def problem(memory: PhysicalMemory, address: int) -> str:
    """Why there is no RSDP at an address, empty when there is one (ACPI 6.5, section 5.2.5.3)."""
    try:
        raw = memory.read(address, Rsdp1.SIZE)
        head = Rsdp1.parse(raw)
        if head.signature != RSDP_SIGNATURE:
            return f"{address:#x} has the signature {head.signature!r}"
        if sum(raw) & 0xFF:
            return f"the checksum at {address:#x} is wrong"
        if head.revision < 2:
            return ""
        length = memory.u32(address + Rsdp.leaf("length").offset)
        if not Rsdp1.SIZE < length <= LARGEST or sum(memory.read(address, length)) & 0xFF:
            return f"the extended checksum at {address:#x} is wrong"
    except BusError as error:
        return str(error)
    return ""


def check(findings: Findings, which: Requirement, memory: PhysicalMemory, address: int) -> None:
    """Nothing, or an RSDP."""
    if address:
        found = problem(memory, address)
        findings.demand(which, not found, found)
