"""What holds in every image while UEFI's boot services are there: the processor's mode, the stack, the tables.

`width` is the firmware's, in bytes of a pointer: 8 for x64 and 4 for IA-32.
"""

from __future__ import annotations

import zlib

from efishim.lab.abi import acpi
from efishim.lab.abi.ranges import named
from efishim.lab.abi.rules import Findings, Moment, Rule
from efishim.lab.abi.segments import CR0_EM, CR0_TS, FLAG_DF, FLAG_IF
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.guids import EFI_ACPI_20_TABLE_GUID, guid_bytes
from efishim.wire.uefi import (
    BOOT_SERVICES_SIGNATURE,
    BOOT_SERVICES_TABLE,
    CONFIGURATION_TABLE,
    RUNTIME_SERVICES_SIGNATURE,
    RUNTIME_SERVICES_TABLE,
    SYSTEM_TABLE,
    SYSTEM_TABLE_SIGNATURE,
    TABLE_HEADER,
    Shape,
)

STATE = "UEFI 2.10, section 2.3.4 for x64 and section 2.3.2 for IA-32"
STACK_SIZE = 128 << 10
MAX_TABLES = 1024
LARGEST_TABLE = 0x1000
FCW, MXCSR = {8: 0x037F, 4: 0x027F}, 0x1F80
MODES = {8: "long64", 4: "protected32"}

MODE = Rule("uefi/mode", "The processor is in 64-bit mode on x64, in 32-bit protected mode on IA-32", STATE)
FLAT = Rule("uefi/segments", "Selectors are set to be flat", STATE)
INTERRUPTS = Rule("uefi/interrupts", "Interrupts are enabled", STATE)
DIRECTION = Rule("uefi/direction", "The direction flag is clear", STATE)
TASKS = Rule("uefi/cr0", "CR0.EM and CR0.TS are zero", STATE)
CONTROL_WORD = Rule("uefi/fcw", "The floating-point control word is 0x37f on x64, 0x27f on IA-32", STATE)
MEDIA = Rule("uefi/mxcsr", "The multimedia-extensions control word is 0x1f80", STATE)
STACK = Rule("uefi/stack", "There are 128 KiB or more of stack", STATE)
STACK_ALIGNED = Rule(
    "uefi/stack-alignment",
    "The stack is aligned to 16 bytes at the call",
    "UEFI 2.10, section 2.3.4.2 for x64 and section 2.3.2.2 for IA-32",
)
MAPPED = Rule("uefi/identity-map", "Memory is identity-mapped", STATE)
SYSTEM = Rule(
    "uefi/system-table", "The system table has its signature, its size and its CRC", "UEFI 2.10, sections 4.2 and 4.3"
)
BOOT = Rule(
    "uefi/boot-services", "The boot services table has its signature, its size and its CRC", "UEFI 2.10, sections 4.2 and 4.4"
)
RUNTIME = Rule(
    "uefi/runtime-services",
    "The runtime services table has its signature, its size and its CRC",
    "UEFI 2.10, sections 4.2 and 4.5",
)
CONFIGURATION = Rule(
    "uefi/configuration", "ConfigurationTable has NumberOfTableEntries entries, each with a table", "UEFI 2.10, section 4.6"
)
RSDP = acpi.rule("uefi/acpi", "The table of EFI_ACPI_20_TABLE_GUID", "UEFI 2.10, section 4.6.1.1; ACPI 6.5, section 5.2.5.2")
EXECUTION = (MODE, FLAT, INTERRUPTS, DIRECTION, TASKS, CONTROL_WORD, MEDIA, STACK, STACK_ALIGNED, MAPPED)
TABLES = (SYSTEM, BOOT, RUNTIME, CONFIGURATION, RSDP)


def execution(moment: Moment, findings: Findings, width: int = 8) -> None:
    """The mode in which images run, and the stack as a call leaves it: with a return address on top."""
    cpu = moment.cpu
    cr0, flags, stack = cpu.control["cr0"], cpu.registers["eflags"], moment.register("rsp")
    findings.demand(MODE, cpu.mode == MODES[width], f"the mode is {cpu.mode}")
    for name in ("cs", "ds", "es", "fs", "gs", "ss"):
        base = cpu.segments[name].base
        findings.demand(FLAT, base == 0, f"{name.upper()} has the base {base:#x}")
    findings.demand(INTERRUPTS, bool(flags & FLAG_IF), f"EFLAGS is {flags:#x}")
    findings.demand(DIRECTION, not flags & FLAG_DF, f"EFLAGS is {flags:#x}")
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
    found = _table(memory, address, SYSTEM_TABLE, SYSTEM_TABLE_SIGNATURE, width)
    if isinstance(found, str):
        findings.demand(SYSTEM, False, found)
        return
    gap = moment.not_identity_mapped(address, SYSTEM_TABLE.size(width))
    findings.demand(MAPPED, gap is None, f"in the system table {gap or 0:#x} is not")
    for rule, field, shape, signature in (
        (BOOT, "BootServices", BOOT_SERVICES_TABLE, BOOT_SERVICES_SIGNATURE),
        (RUNTIME, "RuntimeServices", RUNTIME_SERVICES_TABLE, RUNTIME_SERVICES_SIGNATURE),
    ):
        services = _table(memory, found[field], shape, signature, width)
        if isinstance(services, str):
            findings.demand(rule, False, services)
    _configuration(memory, findings, found["ConfigurationTable"], found["NumberOfTableEntries"], width)


def _table(memory: PhysicalMemory, address: int, shape: Shape, signature: int, width: int) -> dict[str, int] | str:
    """The fields of a table with a header, or what is wrong with it."""
    try:
        header = TABLE_HEADER.unpack(memory.read(address, TABLE_HEADER.size()))
        size = header["HeaderSize"]
        if header["Signature"] != signature:
            return f"the signature at {address:#x} is {header['Signature']:#x}"
        if not shape.size(width) <= size <= LARGEST_TABLE:
            return f"HeaderSize is {size}, the table has {shape.size(width)} bytes"
        if header["Reserved"]:
            return f"the reserved field of its header is {header['Reserved']:#x}"
        data = bytearray(memory.read(address, size))
    except BusError as error:
        return str(error)
    at = TABLE_HEADER.offset("CRC32")
    data[at : at + 4] = bytes(4)
    if zlib.crc32(data) != header["CRC32"]:
        return f"the CRC at {address:#x} is {header['CRC32']:#x} and should be {zlib.crc32(data):#x}"
    return shape.unpack(bytes(data), width)


def _configuration(memory: PhysicalMemory, findings: Findings, address: int, count: int, width: int) -> None:
    if not findings.demand(CONFIGURATION, count <= MAX_TABLES, f"there are {count}") or not count:
        return
    step = CONFIGURATION_TABLE.size(width)
    try:
        raw = memory.read(address, count * step)
    except BusError as error:
        findings.demand(CONFIGURATION, False, str(error))
        return
    for at in range(0, len(raw), step):
        table = CONFIGURATION_TABLE.unpack(raw, width, at)["VendorTable"]
        guid = CONFIGURATION_TABLE.unpack_guid("VendorGuid", raw, width, at)
        if findings.demand(CONFIGURATION, table != 0, f"number {at // step} has none") and guid == guid_bytes(
            EFI_ACPI_20_TABLE_GUID
        ):
            acpi.check(findings, RSDP, memory, table)
