"""The entry of an x64 EFI image. LoadedImage is not checked: handles are opaque outside the firmware."""

from __future__ import annotations

from efishim.lab.abi import uefi
from efishim.provider.checking import Findings, Moment, Requirement

HANDOFF = "UEFI 2.10, section 2.3.4.1"

ENTRY = Requirement("efi/entry-point", "The image is entered at AddressOfEntryPoint", "UEFI 2.10, section 4.1.1")
HANDLE = Requirement("efi/handle", "RCX is the image's handle", HANDOFF)
RETURN = Requirement("efi/return-address", "RSP points to a return address", HANDOFF)
REQUIREMENTS = (ENTRY, HANDLE, RETURN, *uefi.EXECUTION, *uefi.TABLES)


def check(moment: Moment, findings: Findings) -> None:
    """Processor, arguments and tables."""
    registers, wanted = moment.cpu.registers, moment.loaded.entry_point
    findings.demand(ENTRY, registers.rip == wanted, f"RIP is {registers.rip:#x}, the image's is at {wanted:#x}")
    findings.demand(HANDLE, registers.rcx != 0, "it is null")
    stack = registers.rsp
    there = moment.memory.find(stack, 8) is not None
    address = moment.memory.u64(stack) if there else 0
    findings.demand(RETURN, address != 0 and moment.memory.find(address) is not None, f"at {stack:#x} there is {address:#x}")
    uefi.execution(moment, findings)
    uefi.tables(moment, findings, registers.rdx)
