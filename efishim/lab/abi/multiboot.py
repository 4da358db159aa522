"""The entry of a Multiboot kernel. The A20 gate is not checked: it is not part of the processor state."""

from __future__ import annotations

from efishim.lab.abi.ranges import Range, named, overlaps
from efishim.lab.abi.segments import code_and_data
from efishim.lab.snapshot.guest_read import Unreadable, read, read_layout
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.multiboot import (
    MULTIBOOT_BOOTLOADER_MAGIC,
    MULTIBOOT_HEADER_MAGIC,
    MULTIBOOT_INFO_FLAGS,
    MULTIBOOT_SEARCH,
    MultibootHeader,
    MultibootInfo,
    MultibootMmapEntry,
    MultibootModule,
)
from efishim.wire.x86 import CR0_PE, CR0_PG, EFLAGS_IF, EFLAGS_VM

STATE = "Multiboot 0.6.96, section 3.2"
INFORMATION = "Multiboot 0.6.96, section 3.3"
BITS = {name: bit for bit, name in MULTIBOOT_INFO_FLAGS.items()}
PAGE_ALIGN, MEMORY_INFO, VIDEO_MODE = 1 << 0, 1 << 1, 1 << 2
PAGE = 0x1000
LOWER_LIMIT = 640
MAX_MODULES, MAX_MAP, MAX_TEXT = 4096, 1 << 20, 64 << 10

ENTRY = Requirement("multiboot/entry-point", "The image is entered at its entry address", "Multiboot 0.6.96, section 3.1.3")
MAGIC = Requirement("multiboot/eax", "EAX is 0x2badb002", STATE)
CODE = Requirement("multiboot/cs", "CS is a 32-bit code segment for read and execute with offset 0 and limit 0xffffffff", STATE)
DATA = Requirement(
    "multiboot/data",
    "DS, ES, FS, GS and SS are 32-bit data segments for read and write with offset 0 and limit 0xffffffff",
    STATE,
)
CR0 = Requirement("multiboot/cr0", "In CR0 PG is clear and PE is set", STATE)
FLAGS = Requirement("multiboot/eflags", "In EFLAGS VM and IF are clear", STATE)
INFO = Requirement("multiboot/information", "EBX is the physical address of the information", STATE)
KNOWN = Requirement("multiboot/flags", "flags has defined bits only, and of 4 and 5 not both", INFORMATION)
LOWER = Requirement("multiboot/mem-lower", "mem_lower is at most 640", INFORMATION)
TEXTS = Requirement("multiboot/strings", "Strings end with a NUL", INFORMATION)
MODULES = Requirement("multiboot/modules", "mods_addr leads to mods_count modules, each in memory", INFORMATION)
APART = Requirement("multiboot/apart", "Information and modules lie beside each other and beside the kernel", INFORMATION)
MAP = Requirement("multiboot/memory-map", "mmap_addr leads to mmap_length bytes of whole entries", INFORMATION)
ALIGNED = Requirement(
    "multiboot/page-align", "Modules lie on page boundaries for a header with bit 0", "Multiboot 0.6.96, section 3.1.2"
)
WANTED = Requirement(
    "multiboot/wanted", "What the header asks for with bits 1 and 2 is there", "Multiboot 0.6.96, section 3.1.2"
)
REQUIREMENTS = (ENTRY, MAGIC, CODE, DATA, CR0, FLAGS, INFO, KNOWN, LOWER, TEXTS, MODULES, APART, MAP, ALIGNED, WANTED)


def state_386(
    moment: Moment, findings: Findings, code: Requirement, data: Requirement, cr0: Requirement, flags: Requirement
) -> None:
    """What both versions ask of the processor."""
    code_and_data(findings, moment, code, data, registers=("ds", "es", "fs", "gs", "ss"))
    control, eflags = moment.cpu.control.cr0, moment.cpu.registers.eflags
    findings.demand(cr0, control & (CR0_PE | CR0_PG) == CR0_PE, f"CR0 is {control:#x}")
    findings.demand(flags, not eflags & (EFLAGS_VM | EFLAGS_IF), f"EFLAGS is {eflags:#x}")


def ends(memory: PhysicalMemory, address: int) -> bool:
    """Is there a string that ends?"""
    try:
        return len(memory.c_string(address, MAX_TEXT)) < MAX_TEXT
    except BusError:
        return False


def check(moment: Moment, findings: Findings) -> None:
    """Processor, and the information behind EBX."""
    at, eax = moment.cpu.registers.rip, moment.register("rax")
    findings.demand(ENTRY, at == moment.loaded.entry_point, f"EIP is {at:#x} and not {moment.loaded.entry_point:#x}")
    findings.demand(MAGIC, eax == MULTIBOOT_BOOTLOADER_MAGIC, f"it is {eax:#x}")
    state_386(moment, findings, CODE, DATA, CR0, FLAGS)
    memory, address = moment.memory, moment.register("rbx")
    try:
        info = read_layout(memory, address, MultibootInfo, "the information")
    except Unreadable as error:
        findings.demand(INFO, False, str(error))
        return
    flags = info.flags
    both = flags & BITS["AOUT_SYMS"] and flags & BITS["ELF_SHDR"]
    findings.demand(KNOWN, not flags & ~sum(MULTIBOOT_INFO_FLAGS) and not both, f"it is {flags:#x}")
    if flags & BITS["MEMORY"]:
        findings.demand(LOWER, info.mem_lower <= LOWER_LIMIT, f"it is {info.mem_lower}")
    for bit, field in (("CMDLINE", info.cmdline), ("BOOT_LOADER_NAME", info.boot_loader_name)):
        findings.demand(TEXTS, not flags & BITS[bit] or ends(memory, field), f"{bit} at {field:#x} has none")
    modules = _modules(memory, findings, info) if flags & BITS["MODS"] else []
    if flags & BITS["MEM_MAP"]:
        _map(memory, findings, info)
    kernel = moment.loaded.base, moment.loaded.base + moment.loaded.size
    for one, two in overlaps([kernel, (address, address + MultibootInfo.SIZE), *modules]):
        findings.demand(APART, False, f"{named(one)} and {named(two)} overlap")
    _wanted(findings, flags, _header_flags(moment), modules)


def _modules(memory: PhysicalMemory, findings: Findings, info: MultibootInfo) -> list[Range]:
    count, size = info.mods_count, MultibootModule.SIZE
    if not findings.demand(MODULES, count <= MAX_MODULES, f"mods_count is {count}") or not count:
        return []
    try:
        raw = read(memory, info.mods_addr, count * size, "the module list")
    except Unreadable as error:
        findings.demand(MODULES, False, str(error))
        return []
    entries = MultibootModule.rows(raw)
    for entry in entries:
        one = entry.mod_start, entry.mod_end
        there = one[0] <= one[1] and memory.find(one[0], max(one[1] - one[0], 1)) is not None
        findings.demand(MODULES, there, f"{named(one)} is no memory")
        findings.demand(TEXTS, not entry.string or ends(memory, entry.string), f"a module's at {entry.string:#x} has none")
    return [(entry.mod_start, entry.mod_end) for entry in entries]


def _map(memory: PhysicalMemory, findings: Findings, info: MultibootInfo) -> None:
    try:
        if info.mmap_length > MAX_MAP:
            raise Unreadable(f"it has {info.mmap_length:#x} bytes")
        raw = read(memory, info.mmap_addr, info.mmap_length, "the memory map")
    except Unreadable as error:
        findings.demand(MAP, False, str(error))
        return
    at = 0
    while at < len(raw):
        entry = MultibootMmapEntry.parse(raw[at : at + MultibootMmapEntry.SIZE].ljust(MultibootMmapEntry.SIZE, b"\0"))
        step = entry.size + 4
        whole = step >= MultibootMmapEntry.SIZE and at + step <= len(raw)
        if not findings.demand(MAP, whole, f"the entry at {at:#x} has {step:#x} bytes"):
            return
        one = entry.base_addr, entry.base_addr + entry.length
        findings.demand(MAP, one[0] < one[1] <= 1 << 64, f"one is {named(one)}")
        at += step


def _header_flags(moment: Moment) -> int:
    """The flags of the header as it was loaded, 0 when it was not: section 3.1 has it among the first 8 KiB of the file."""
    size = min(moment.loaded.size, 2 * MULTIBOOT_SEARCH)
    try:
        raw = moment.memory.read(moment.loaded.base, size)
    except BusError:
        return 0
    for at in range(0, size - 11, 4):
        if raw[at : at + 4] != MULTIBOOT_HEADER_MAGIC.to_bytes(4, "little"):
            continue
        header = MultibootHeader.parse(raw[at : at + MultibootHeader.SIZE].ljust(MultibootHeader.SIZE, b"\0"))
        if not header.magic + header.flags + header.checksum & 0xFFFF_FFFF:
            return header.flags
    return 0


def _wanted(findings: Findings, flags: int, header: int, modules: list[Range]) -> None:
    if header & PAGE_ALIGN:
        for one in modules:
            findings.demand(ALIGNED, one[0] % PAGE == 0, f"there is one at {named(one)}")
    if header & MEMORY_INFO:
        findings.demand(WANTED, bool(flags & BITS["MEMORY"]), f"memory is not: flags is {flags:#x}")
    if header & VIDEO_MODE:
        video = flags & (BITS["VBE_INFO"] | BITS["FRAMEBUFFER_INFO"])
        findings.demand(WANTED, bool(video), f"the video mode is not: flags is {flags:#x}")
