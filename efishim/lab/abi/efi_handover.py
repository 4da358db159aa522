"""The 64-bit EFI handover entry of a Linux kernel: boot services are running, and boot_params is mostly empty."""

from __future__ import annotations

from efishim.lab.abi import boot_params, ramdisk, uefi
from efishim.lab.snapshot.guest_read import Unreadable, read_layout
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.bootparams import HDRS_MAGIC, BootParams
from efishim.wire.linux_header import ENTRY64_OFFSET, HEADER_START

HANDOVER = 'Documentation/arch/x86/boot.rst, "EFI Handover Protocol"'

ENTRY = Requirement(
    "efi-handover/entry-point", "The kernel is entered at handover_offset, and 0x200 behind that in 64-bit mode", HANDOVER
)
HANDLE = Requirement("efi-handover/handle", "RDI is the handle of the kernel's image", HANDOVER)
PARAMS = Requirement("efi-handover/boot-params", "RDX points to a struct boot_params with the kernel's setup header", HANDOVER)
LINE = Requirement("efi-handover/command-line", "hdr.cmd_line_ptr points to a command line", HANDOVER)
ZERO = Requirement("efi-handover/zero", "Everything in boot_params but its header is zero, for the stub fills it", HANDOVER)
REQUIREMENTS = (ENTRY, HANDLE, PARAMS, LINE, ZERO, ramdisk.BOTH, ramdisk.HIGHEST, *uefi.EXECUTION, *uefi.TABLES)


def check(moment: Moment, findings: Findings) -> None:
    """Processor, the three arguments as the System V ABI passes them, tables and boot_params."""
    registers = moment.cpu.registers
    uefi.execution(moment, findings)
    findings.demand(HANDLE, registers.rdi != 0, "it is null")
    uefi.tables(moment, findings, registers.rsi)
    try:
        params = read_layout(moment.memory, registers.rdx, BootParams, "boot_params")
    except Unreadable as error:
        findings.demand(PARAMS, False, str(error))
        return
    hdr = params.hdr
    if not findings.demand(PARAMS, hdr.header == HDRS_MAGIC, f"its magic is {hdr.header:#x}"):
        return
    wanted = moment.loaded.base + hdr.handover_offset + ENTRY64_OFFSET
    findings.demand(ENTRY, registers.rip == wanted, f"RIP is {registers.rip:#x} and should be {wanted:#x}")
    text = boot_params.command_line(moment.memory, params)
    findings.demand(LINE, text is not None, f"at {params.cmd_line():#x} there is none")
    ramdisk.check(findings, hdr, *params.ramdisk(), None)
    # The upper halves of the addresses belong to the fields that a loader fills.
    raw = bytearray(params.build())
    raw[0xC0:0xCC] = bytes(12)
    # A loader that takes the header over takes it with what lies behind it in a newer protocol's, up to 0x290.
    rest = bytes(raw[:HEADER_START]) + bytes(raw[0x290:])
    odd = next((at for at, byte in enumerate(rest) if byte), None)
    where = odd if odd is None or odd < HEADER_START else odd - HEADER_START + 0x290
    findings.demand(ZERO, odd is None, f"there is something at {where or 0:#x}")
