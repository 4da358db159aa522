"""The 32-bit entry of a Linux kernel: `startup_32`, the start of the protected-mode code."""

from __future__ import annotations

from efishim.lab.abi import boot_params
from efishim.lab.abi.segments import interrupts_off, linux_segments
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.x86 import CR0_PG

BOOT_RST = 'Documentation/arch/x86/boot.rst, "32-bit Boot Protocol"'

MODE = Requirement("linux32/mode", "The processor is in 32-bit protected mode", BOOT_RST)
PAGING = Requirement("linux32/paging", "Paging is disabled", BOOT_RST)
ENTRY = Requirement("linux32/entry-point", "The kernel is entered where it was loaded", BOOT_RST)
GDT = Requirement(
    "linux32/gdt",
    "The GDT that is loaded has a flat code segment for execute and read at 0x10 and a flat data segment for read and write "
    "at 0x18",
    BOOT_RST,
)
SELECTORS = Requirement("linux32/selectors", "CS is __BOOT_CS (0x10), and DS, ES and SS are __BOOT_DS (0x18)", BOOT_RST)
INTERRUPTS = Requirement("linux32/interrupts", "Interrupts are disabled", BOOT_RST)
ZERO = Requirement("linux32/zero", "EBP, EDI and EBX are zero", BOOT_RST)
REQUIREMENTS = (MODE, PAGING, ENTRY, GDT, SELECTORS, INTERRUPTS, ZERO, *boot_params.REQUIREMENTS)


def check(moment: Moment, findings: Findings) -> None:
    """Processor, and the boot_params behind ESI."""
    cpu = moment.cpu
    findings.demand(MODE, cpu.mode == "protected32", f"the mode is {cpu.mode}")
    findings.demand(PAGING, not cpu.control.cr0 & CR0_PG, f"CR0 is {cpu.control.cr0:#x}")
    at, base = cpu.registers.rip, moment.loaded.base
    findings.demand(ENTRY, at == base, f"EIP is {at:#x}, the kernel is at {base:#x}")
    linux_segments(findings, moment, GDT, SELECTORS, "code32")
    interrupts_off(findings, moment, INTERRUPTS)
    for name in ("rbp", "rdi", "rbx"):
        value = moment.register(name)
        findings.demand(ZERO, value == 0, f"E{name[1:].upper()} is {value:#x}")
    boot_params.check(moment, findings, moment.register("rsi"))
