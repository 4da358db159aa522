"""ACPI's root pointer, to which several structures can point."""

from __future__ import annotations

from efishim.lab.abi.requirements import Findings, Requirement
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.acpi import RSDP_SIGNATURE

FIRST_SIZE = 20
"""Bytes of revision 0, which `checksum` covers in every revision."""
LARGEST = 0x1000


def rule(name: str, field: str, reference: str) -> Requirement:
    """The rule for one structure's pointer."""
    return Requirement(name, f"{field} is null or points to an RSDP whose bytes add up to 0", reference)


def problem(memory: PhysicalMemory, address: int) -> str:
    """Why there is no RSDP at an address, empty when there is one (ACPI 6.5, section 5.2.5.3)."""
    try:
        head = memory.read(address, FIRST_SIZE)
        if head[:8] != RSDP_SIGNATURE:
            return f"{address:#x} has the signature {head[:8]!r}"
        if sum(head) & 0xFF:
            return f"the checksum at {address:#x} is wrong"
        revision = head[15]
        if revision < 2:
            return ""
        length = memory.u32(address + FIRST_SIZE)
        if not FIRST_SIZE < length <= LARGEST or sum(memory.read(address, length)) & 0xFF:
            return f"the extended checksum at {address:#x} is wrong"
    except BusError as error:
        return str(error)
    return ""


def check(findings: Findings, which: Requirement, memory: PhysicalMemory, address: int) -> None:
    """Nothing, or an RSDP."""
    if address:
        found = problem(memory, address)
        findings.demand(which, not found, found)
