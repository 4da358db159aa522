"""The 64-bit entry of a Linux kernel: `startup_64`, 0x200 bytes into the protected-mode code."""

from __future__ import annotations

from efishim.lab.abi import boot_params
from efishim.lab.abi.ranges import named
from efishim.lab.abi.segments import interrupts_off, linux_segments
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.bootparams import BootParams
from efishim.wire.linux_header import ENTRY64_OFFSET

BOOT_RST = 'Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"'

MODE = Requirement("linux64/mode", "The processor is in 64-bit mode with paging enabled", BOOT_RST)
ENTRY = Requirement("linux64/entry-point", "The kernel is entered 0x200 bytes behind where it was loaded", BOOT_RST)
GDT = Requirement(
    "linux64/gdt",
    "The GDT that is loaded has a flat 64-bit code segment for execute and read at 0x10 and a flat data segment for read "
    "and write at 0x18",
    BOOT_RST,
)
SELECTORS = Requirement("linux64/selectors", "CS is __BOOT_CS (0x10), and DS, ES and SS are __BOOT_DS (0x18)", BOOT_RST)
INTERRUPTS = Requirement("linux64/interrupts", "Interrupts are disabled", BOOT_RST)
MAPPED = Requirement(
    "linux64/identity-map",
    "Identity-mapped are init_size bytes from where the kernel was loaded, the zero page and the command line",
    BOOT_RST,
)
REQUIREMENTS = (MODE, ENTRY, GDT, SELECTORS, INTERRUPTS, MAPPED, *boot_params.REQUIREMENTS)


def check(moment: Moment, findings: Findings) -> None:
    """Processor, page tables, and the boot_params behind RSI."""
    cpu, loaded = moment.cpu, moment.loaded
    findings.demand(MODE, cpu.mode == "long64", f"the mode is {cpu.mode}")
    at = cpu.registers.rip
    findings.demand(ENTRY, at == loaded.base + ENTRY64_OFFSET, f"RIP is {at:#x}, the kernel is at {loaded.base:#x}")
    linux_segments(findings, moment, GDT, SELECTORS, "code64")
    interrupts_off(findings, moment, INTERRUPTS)
    address = moment.register("rsi")
    params = boot_params.check(moment, findings, address)
    if params is None:
        return
    size = params.hdr.init_size or loaded.size
    # The command line's buffer ends with its NUL: the specification gives it no other size.
    text = boot_params.command_line(moment.memory, params)
    line = (params.cmd_line(), params.cmd_line() + len(text) + 1 if text is not None else params.cmd_line())
    for what, one in (
        ("the kernel", (loaded.base, loaded.base + size)),
        ("the zero page", (address, address + BootParams.SIZE)),
        ("the command line", line),
    ):
        gap = moment.not_identity_mapped(one[0], one[1] - one[0])
        findings.demand(MAPPED, gap is None, f"{what} at {named(one)} is not mapped at {gap or 0:#x}")
