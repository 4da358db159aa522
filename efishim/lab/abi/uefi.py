"""Requirements at every entry with UEFI boot services running: processor mode, stack, tables.

`width` is the firmware's, in bytes of a pointer: 8 for x64 and 4 for IA-32.
"""

from __future__ import annotations

import zlib
from typing import TypeVar

from efishim.lab.abi import acpi
from efishim.lab.abi.ranges import named
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.guids import EFI_ACPI_20_TABLE_GUID, guid_bytes
from efishim.wire.uefi import (
    BOOT_SERVICES_SIGNATURE,
    RUNTIME_SERVICES_SIGNATURE,
    STACK_SIZE,
    SYSTEM_TABLE_SIGNATURE,
    BootServicesTable,
    ConfigurationTable,
    RuntimeServicesTable,
    SystemTable,
    TableHeader,
)
from efishim.wire.x86 import CR0_EM, CR0_TS, EFLAGS_DF, EFLAGS_IF

Table = TypeVar("Table", bound=TableHeader)
STATE = "UEFI 2.10, section 2.3.4 for x64 and section 2.3.2 for IA-32"
MAX_TABLES = 1024
LARGEST_TABLE = 0x1000
FCW, MXCSR = {8: 0x037F, 4: 0x027F}, 0x1F80
MODES = {8: "long64", 4: "protected32"}

MODE = Requirement("uefi/mode", "The processor is in 64-bit mode on x64, in 32-bit protected mode on IA-32", STATE)
FLAT = Requirement("uefi/segments", "Selectors are set to be flat", STATE)
INTERRUPTS = Requirement("uefi/interrupts", "Interrupts are enabled", STATE)
DIRECTION = Requirement("uefi/direction", "The direction flag is clear", STATE)
TASKS = Requirement("uefi/cr0", "CR0.EM and CR0.TS are zero", STATE)
CONTROL_WORD = Requirement("uefi/fcw", "The floating-point control word is 0x37f on x64, 0x27f on IA-32", STATE)
MEDIA = Requirement("uefi/mxcsr", "The multimedia-extensions control word is 0x1f80", STATE)
STACK = Requirement("uefi/stack", "There are 128 KiB or more of stack", STATE)
STACK_ALIGNED = Requirement(
    "uefi/stack-alignment",
    "The stack is aligned to 16 bytes at the call",
    "UEFI 2.10, section 2.3.4.2 for x64 and section 2.3.2.2 for IA-32",
)
MAPPED = Requirement("uefi/identity-map", "Memory is identity-mapped", STATE)
SYSTEM = Requirement(
    "uefi/system-table", "The system table has its signature, its size and its CRC", "UEFI 2.10, sections 4.2 and 4.3"
)
BOOT = Requirement(
    "uefi/boot-services", "The boot services table has its signature, its size and its CRC", "UEFI 2.10, sections 4.2 and 4.4"
)
RUNTIME = Requirement(
    "uefi/runtime-services",
    "The runtime services table has its signature, its size and its CRC",
    "UEFI 2.10, sections 4.2 and 4.5",
)
CONFIGURATION = Requirement(
    "uefi/configuration", "ConfigurationTable has NumberOfTableEntries entries, each with a table", "UEFI 2.10, section 4.6"
)
RSDP = acpi.rule("uefi/acpi", "The table of EFI_ACPI_20_TABLE_GUID", "UEFI 2.10, section 4.6.1.1; ACPI 6.5, section 5.2.5.2")
EXECUTION = (MODE, FLAT, INTERRUPTS, DIRECTION, TASKS, CONTROL_WORD, MEDIA, STACK, STACK_ALIGNED, MAPPED)
TABLES = (SYSTEM, BOOT, RUNTIME, CONFIGURATION, RSDP)


def execution(moment: Moment, findings: Findings, width: int = 8) -> None:
    """The mode in which images run, and the stack as a call leaves it: with a return address on top."""
    cpu = moment.cpu
    cr0, flags, stack = cpu.control.cr0, cpu.registers.eflags, moment.register("rsp")
    findings.demand(MODE, cpu.mode == MODES[width], f"the mode is {cpu.mode}")
    for name in ("cs", "ds", "es", "fs", "gs", "ss"):
        base = cpu.segments.named(name).base
        findings.demand(FLAT, base == 0, f"{name.upper()} has the base {base:#x}")
    findings.demand(INTERRUPTS, bool(flags & EFLAGS_IF), f"EFLAGS is {flags:#x}")
    findings.demand(DIRECTION, not flags & EFLAGS_DF, f"EFLAGS is {flags:#x}")
    findings.demand(TASKS, not cr0 & (CR0_EM | CR0_TS), f"CR0 is {cr0:#x}")
    for rule, name, wanted in ((CONTROL_WORD, "fcw", FCW[width]), (MEDIA, "mxcsr", MXCSR)):
        word = moment.floating.get(name, wanted)
        findings.demand(rule, word == wanted, f"it is {word:#x}")
    findings.demand(STACK_ALIGNED, (stack + width) % 16 == 0, f"behind the return address it is at {stack + width:#x}")
    below = stack - STACK_SIZE
    there = below > 0 and moment.memory.find(below, STACK_SIZE + 8) is not None
    image = moment.loaded.base, moment.loaded.base + moment.loaded.size
    free = not (below < image[1] and image[0] < stack)
    writable = there and moment.not_identity_mapped(below, STACK_SIZE + 8, write=True) is None
    findings.demand(STACK, there and free and writable, f"below {stack:#x} there is less that can be written")
    gap = moment.not_identity_mapped(image[0], image[1] - image[0])
    findings.demand(MAPPED, gap is None, f"in the image at {named(image)} {gap or 0:#x} is not")


def tables(moment: Moment, findings: Findings, address: int, width: int = 8) -> None:
    """The system table and what hangs on it."""
    memory = moment.memory
    found = _table(memory, address, SystemTable, SYSTEM_TABLE_SIGNATURE, width)
    if isinstance(found, str):
        findings.demand(SYSTEM, False, found)
        return
    gap = moment.not_identity_mapped(address, SystemTable.sizeof(width))
    findings.demand(MAPPED, gap is None, f"in the system table {gap or 0:#x} is not")
    boot = _table(memory, found.BootServices, BootServicesTable, BOOT_SERVICES_SIGNATURE, width)
    runtime = _table(memory, found.RuntimeServices, RuntimeServicesTable, RUNTIME_SERVICES_SIGNATURE, width)
    for rule, services in ((BOOT, boot), (RUNTIME, runtime)):
        if isinstance(services, str):
            findings.demand(rule, False, services)
    _configuration(memory, findings, found.ConfigurationTable, found.NumberOfTableEntries, width)


def _table(memory: PhysicalMemory, address: int, layout: type[Table], signature: int, width: int) -> Table | str:
    """A table with a header, or what is wrong with it."""
    try:
        header = TableHeader.parse(memory.read(address, TableHeader.sizeof()))
        size = header.HeaderSize
        if header.Signature != signature:
            return f"the signature at {address:#x} is {header.Signature:#x}"
        if not layout.sizeof(width) <= size <= LARGEST_TABLE:
            return f"HeaderSize is {size}, the table has {layout.sizeof(width)} bytes"
        if header.Reserved:
            return f"the reserved field of its header is {header.Reserved:#x}"
        data = memory.read(address, size)
    except BusError as error:
        return str(error)
    told, header.CRC32 = header.CRC32, 0
    crc = zlib.crc32(header.build() + data[header.sizeof() :])
    if crc != told:
        return f"the CRC at {address:#x} is {told:#x} and should be {crc:#x}"
    return layout.parse(data, width)


def _configuration(memory: PhysicalMemory, findings: Findings, address: int, count: int, width: int) -> None:
    if not findings.demand(CONFIGURATION, count <= MAX_TABLES, f"there are {count}") or not count:
        return
    try:
        raw = memory.read(address, count * ConfigurationTable.sizeof(width))
    except BusError as error:
        findings.demand(CONFIGURATION, False, str(error))
        return
    for number, entry in enumerate(ConfigurationTable.rows(raw, width=width)):
        there = findings.demand(CONFIGURATION, entry.VendorTable != 0, f"number {number} has none")
        if there and entry.VendorGuid == guid_bytes(EFI_ACPI_20_TABLE_GUID):
            acpi.check(findings, RSDP, memory, entry.VendorTable)
