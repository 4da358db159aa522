"""Entries called by 32-bit firmware: that of an IA-32 EFI image, and that in a 64-bit Linux kernel's `.compat` section."""

from __future__ import annotations

from efishim.lab.abi import uefi
from efishim.machine.memory import BusError
from efishim.provider.checking import Findings, Moment, Requirement

HANDOFF = "UEFI 2.10, section 2.3.2.1"
ON_STACK = "On the stack are a return address, the image's handle and the system table"
WIDTH = 4

ENTRY = Requirement("efi-ia32/entry-point", "The image is entered at AddressOfEntryPoint", "UEFI 2.10, section 4.1.1")
STACK = Requirement("efi-ia32/stack", ON_STACK, HANDOFF)
REQUIREMENTS = (ENTRY, STACK, *uefi.EXECUTION, *uefi.TABLES)

MIXED_ENTRY = Requirement(
    "efi-mixed/entry-point",
    "The image is entered where its .compat section says for IA-32",
    "UEFI 2.10, section 4.1.1; arch/x86/boot/header.S of Linux",
)
MIXED_STACK = Requirement("efi-mixed/stack", ON_STACK, HANDOFF)
MIXED_RULES = (MIXED_ENTRY, MIXED_STACK, *uefi.EXECUTION, *uefi.TABLES)


def check(moment: Moment, findings: Findings) -> None:
    """Processor, arguments and tables at the entry of an IA-32 image."""
    _check(moment, findings, ENTRY, STACK)


def check_mixed(moment: Moment, findings: Findings) -> None:
    """The same for the other entry of an x64 image, which is called like one."""
    _check(moment, findings, MIXED_ENTRY, MIXED_STACK)


def _check(moment: Moment, findings: Findings, entry: Requirement, arguments: Requirement) -> None:
    at, wanted, stack = moment.register("rip"), moment.loaded.entry_point, moment.register("rsp")
    findings.demand(entry, at == wanted, f"EIP is {at:#x}, the image's is at {wanted:#x}")
    try:
        back, handle, table = (moment.memory.u32(stack + WIDTH * n) for n in range(3))
    except BusError as error:
        findings.demand(arguments, False, str(error))
        return
    there = moment.memory.find(back) is not None
    findings.demand(arguments, bool(back) and there and bool(handle), f"they are {back:#x}, {handle:#x} and {table:#x}")
    uefi.execution(moment, findings, WIDTH)
    uefi.tables(moment, findings, table, WIDTH)
