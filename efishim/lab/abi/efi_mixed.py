"""The entry of a 64-bit Linux kernel on 32-bit firmware: the one of its `.compat` section, called as IA-32 images are."""

from __future__ import annotations

from efishim.lab.abi import uefi
from efishim.lab.abi.rules import Findings, Moment, Rule
from efishim.machine.memory import BusError

HANDOFF = "UEFI 2.10, section 2.3.2.1"
WIDTH = 4

ENTRY = Rule(
    "efi-mixed/entry-point",
    "The image is entered where its .compat section says for IA-32",
    "UEFI 2.10, section 4.1.1; arch/x86/boot/header.S of Linux",
)
STACK = Rule("efi-mixed/stack", "On the stack are a return address, the image's handle and the system table", HANDOFF)
RULES = (ENTRY, STACK, *uefi.EXECUTION, *uefi.TABLES)


def check(moment: Moment, findings: Findings) -> None:
    """Processor, arguments and tables."""
    at, wanted, stack = moment.register("rip"), moment.loaded.entry_point, moment.register("rsp")
    findings.demand(ENTRY, at == wanted, f"EIP is {at:#x}, the image's is at {wanted:#x}")
    try:
        back, handle, table = (moment.memory.u32(stack + WIDTH * n) for n in range(3))
    except BusError as error:
        findings.demand(STACK, False, str(error))
        return
    there = moment.memory.find(back) is not None
    findings.demand(STACK, bool(back) and there and bool(handle), f"they are {back:#x}, {handle:#x} and {table:#x}")
    uefi.execution(moment, findings, WIDTH)
    uefi.tables(moment, findings, table, WIDTH)
