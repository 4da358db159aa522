"""The PVH entry: XEN_ELFNOTE_PHYS32_ENTRY of a kernel's ELF file, with EBX pointing to hvm_start_info."""

from __future__ import annotations

from efishim.lab.abi import acpi
from efishim.lab.abi.ranges import Range, holds, named, overlaps
from efishim.lab.abi.segments import code_and_data, told
from efishim.lab.snapshot.guest_read import Unreadable, read, read_layout
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.start_info import (
    SIF_FLAGS,
    XEN_HVM_MEMMAP_TYPES,
    XEN_HVM_START_MAGIC_VALUE,
    HvmMemmapTableEntry,
    HvmModlistEntry,
    HvmStartInfo,
    HvmStartInfoV0,
)
from efishim.wire.x86 import CR0_ET, CR0_PE, EFLAGS_IF, EFLAGS_TF, EFLAGS_VM

PVH = "docs/misc/pvh.pandoc"
START_INFO = "xen/include/public/arch-x86/hvm/start_info.h"
FOUR_GIB = 1 << 32
MAX_ENTRIES = 4096
MAX_TEXT = 64 << 10
KNOWN_FLAGS = sum(SIF_FLAGS) | 0xFF00
"""With SIF_PM_MASK of xen.h: bits 8 to 15 are about power management."""
TSS_LIMIT = 0x67

CR0 = Requirement("pvh/cr0", "In CR0 PE is set and all other bits that can be written are clear", PVH)
CR4 = Requirement("pvh/cr4", "All bits of CR4 are clear", PVH)
CODE = Requirement("pvh/cs", "CS is a 32-bit code segment for read and execute with base 0 and limit 0xffffffff", PVH)
DATA = Requirement(
    "pvh/data", "DS, ES and SS are 32-bit data segments for read and write with base 0 and limit 0xffffffff", PVH
)
TASK = Requirement("pvh/tr", "TR is an active 32-bit TSS with base 0 and limit 0x67", PVH)
FLAGS = Requirement("pvh/eflags", "In EFLAGS VM, IF and TF are clear", PVH)
ENTRY = Requirement("pvh/entry-point", "The kernel is entered at its XEN_ELFNOTE_PHYS32_ENTRY", PVH)
MEMORY = Requirement("pvh/start-info", "EBX is the physical address of hvm_start_info", PVH)
MAGIC = Requirement("pvh/magic", "hvm_start_info begins with 0x336ec578", START_INFO)
SIF = Requirement("pvh/flags", "flags has no bits but those of SIF_xxx", START_INFO)
BELOW = Requirement("pvh/below-4g", "Everything that hvm_start_info points to lies below 4 GiB", START_INFO)
LINE = Requirement("pvh/command-line", "cmdline_paddr is null or points to a string that ends", START_INFO)
MODULES = Requirement("pvh/modules", "modlist_paddr points to nr_modules modules, each in memory", START_INFO)
APART = Requirement("pvh/modules-apart", "Modules lie beside each other and beside the kernel", START_INFO)
RSDP = acpi.rule("pvh/rsdp", "rsdp_paddr", f"{START_INFO}; ACPI 6.5, section 5.2.5.3")
MAP = Requirement(
    "pvh/memory-map",
    "memmap_paddr points to memmap_entries entries with a size and a type of XEN_HVM_MEMMAP_TYPE_*",
    START_INFO,
)
MAP_APART = Requirement("pvh/memory-map-apart", "No address is in two entries of the memory map", START_INFO)
RESERVED = Requirement("pvh/reserved", "Fields that are reserved are zero", START_INFO)
IN_RAM = Requirement("pvh/ram", "Kernel and modules lie in RAM of the memory map", START_INFO)
REQUIREMENTS = (
    CR0, CR4, CODE, DATA, TASK, FLAGS, ENTRY, MEMORY, MAGIC, SIF, BELOW, LINE, MODULES, APART, RSDP, MAP, MAP_APART, RESERVED,
    IN_RAM,
)  # fmt: skip


def check(moment: Moment, findings: Findings) -> None:
    """Processor, and hvm_start_info."""
    cpu = moment.cpu
    cr0, cr4, flags = cpu.control.cr0, cpu.control.cr4, cpu.registers.eflags
    # ET cannot be written: it is 1 on every processor since the P6 (SDM volume 3, section 2.5).
    findings.demand(CR0, cr0 & ~CR0_ET == CR0_PE, f"CR0 is {cr0:#x}")
    findings.demand(CR4, cr4 == 0, f"CR4 is {cr4:#x}")
    code_and_data(findings, moment, CODE, DATA, registers=("ds", "es", "ss"))
    task = cpu.segments.tr
    active = task.kind == "tss-busy" and task.present and (task.base, task.limit) == (0, TSS_LIMIT)
    findings.demand(TASK, active, f"it is {told(task)}")
    findings.demand(FLAGS, not flags & (EFLAGS_VM | EFLAGS_IF | EFLAGS_TF), f"EFLAGS is {flags:#x}")
    at = cpu.registers.rip
    findings.demand(ENTRY, at == moment.loaded.entry_point, f"EIP is {at:#x}, the note says {moment.loaded.entry_point:#x}")
    _start_info(moment, findings, moment.register("rbx"))


def _start_info(moment: Moment, findings: Findings, address: int) -> None:
    memory = moment.memory
    try:
        info = read_layout(memory, address, HvmStartInfoV0, "hvm_start_info")
        full = read_layout(memory, address, HvmStartInfo, "hvm_start_info") if info.version >= 1 else None
    except Unreadable as error:
        findings.demand(MEMORY, False, str(error))
        return
    if not findings.demand(
        MAGIC, info.magic == XEN_HVM_START_MAGIC_VALUE, f"EBX is {address:#x}, and what is there begins with {info.magic:#x}"
    ):
        return
    findings.demand(SIF, not info.flags & ~KNOWN_FLAGS, f"it is {info.flags:#x}")
    pointers = {"modlist_paddr": info.modlist_paddr, "cmdline_paddr": info.cmdline_paddr, "rsdp_paddr": info.rsdp_paddr}
    if full is not None:
        pointers["memmap_paddr"] = full.memmap_paddr
        findings.demand(RESERVED, full.reserved == 0, f"in hvm_start_info there is {full.reserved:#x}")
    for name, value in pointers.items():
        findings.demand(BELOW, value < FOUR_GIB, f"{name} is {value:#x}")
    _text(findings, memory, info.cmdline_paddr)
    acpi.check(findings, RSDP, memory, info.rsdp_paddr)
    modules = _modules(moment, findings, info)
    if full is None or not full.memmap_entries:
        return  # the guest asks the hypervisor
    ram = _memory_map(memory, findings, full)
    kernel = moment.loaded.base, moment.loaded.base + moment.loaded.size
    for one in (kernel, *modules):
        findings.demand(IN_RAM, holds(ram, one), f"{named(one)} is not")


def _text(findings: Findings, memory: PhysicalMemory, address: int) -> None:
    if not address:
        return
    try:
        ended = len(memory.c_string(address, MAX_TEXT)) < MAX_TEXT
    except BusError:
        ended = False
    findings.demand(LINE, ended, f"the one at {address:#x} does not")


def _modules(moment: Moment, findings: Findings, info: HvmStartInfoV0) -> list[Range]:
    count = info.nr_modules
    if not findings.demand(MODULES, count <= MAX_ENTRIES, f"nr_modules is {count}") or not count:
        return []
    try:
        raw = read(moment.memory, info.modlist_paddr, count * HvmModlistEntry.SIZE, "the module list")
    except Unreadable as error:
        findings.demand(MODULES, False, str(error))
        return []
    ranges = []
    for at in range(0, len(raw), HvmModlistEntry.SIZE):
        entry = HvmModlistEntry.parse(raw[at : at + HvmModlistEntry.SIZE])
        one = entry.paddr, entry.paddr + entry.size
        there = bool(entry.paddr) and moment.memory.find(entry.paddr, max(entry.size, 1)) is not None
        findings.demand(MODULES, there, f"{named(one)} is no memory")
        findings.demand(BELOW, max(one[1], entry.cmdline_paddr) <= FOUR_GIB, f"a module is at {named(one)}")
        findings.demand(RESERVED, entry.reserved == 0, f"in a module's entry there is {entry.reserved:#x}")
        _text(findings, moment.memory, entry.cmdline_paddr)
        ranges.append(one)
    kernel = moment.loaded.base, moment.loaded.base + moment.loaded.size
    for one, two in overlaps([kernel, *ranges]):
        findings.demand(APART, False, f"{named(one)} and {named(two)} overlap")
    return ranges


def _memory_map(memory: PhysicalMemory, findings: Findings, info: HvmStartInfo) -> list[Range]:
    count = info.memmap_entries
    if not findings.demand(MAP, count <= MAX_ENTRIES, f"memmap_entries is {count}"):
        return []
    try:
        raw = read(memory, info.memmap_paddr, count * HvmMemmapTableEntry.SIZE, "the memory map")
    except Unreadable as error:
        findings.demand(MAP, False, str(error))
        return []
    everything, ram = [], []
    for at in range(0, len(raw), HvmMemmapTableEntry.SIZE):
        entry = HvmMemmapTableEntry.parse(raw[at : at + HvmMemmapTableEntry.SIZE])
        one = entry.addr, entry.addr + entry.size
        good = entry.size > 0 and one[1] <= 1 << 64 and entry.type in XEN_HVM_MEMMAP_TYPES
        findings.demand(MAP, good, f"one is {named(one)} of type {entry.type}")
        findings.demand(RESERVED, entry.reserved == 0, f"in the memory map there is {entry.reserved:#x}")
        everything.append(one)
        if XEN_HVM_MEMMAP_TYPES.get(entry.type) == "RAM":
            ram.append(one)
    for before, after in overlaps(everything):
        findings.demand(MAP_APART, False, f"{named(before)} and {named(after)} overlap")
    return ram
