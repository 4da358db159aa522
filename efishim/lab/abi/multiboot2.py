"""The entry of a Multiboot2 kernel, in 32-bit mode or, if its header requests it, in UEFI's processor mode."""

from __future__ import annotations

from collections.abc import Iterator

from efishim.lab.abi import uefi
from efishim.lab.abi.multiboot import state_386
from efishim.lab.abi.ranges import named, overlaps
from efishim.lab.snapshot.guest_read import Unreadable, read, read_layout
from efishim.machine.memory import BusError
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.acpi import RSDP_SIGNATURE, Rsdp1
from efishim.wire.multiboot import (
    MULTIBOOT2_BOOTLOADER_MAGIC,
    MULTIBOOT2_HEADER_MAGIC,
    MULTIBOOT2_HEADER_TAGS,
    MULTIBOOT2_SEARCH,
    MULTIBOOT2_TAGS,
    Multiboot2BasicMeminfo,
    Multiboot2Header,
    Multiboot2HeaderTag,
    Multiboot2Info,
    Multiboot2Mmap,
    Multiboot2MmapEntry,
    Multiboot2Module,
    Multiboot2Tag,
)

STATE = "Multiboot2 2.0, section 3.3"
EFI_STATE = "Multiboot2 2.0, section 3.5"
INFORMATION = "Multiboot2 2.0, section 3.6"
TAG = {name: kind for kind, name in MULTIBOOT2_TAGS.items()}
HEADER_TAG = {name: kind for kind, name in MULTIBOOT2_HEADER_TAGS.items()}
PAGE = 0x1000
LOWER_LIMIT = 640
MAX_INFORMATION = 16 << 20
LEFT_OUT = frozenset(TAG[name] for name in ("BASIC_MEMINFO", "MMAP", "EFI_MMAP"))
"""What need not be told while there are EFI boot services, which would make it wrong (sections 3.6.3, 3.6.8, 3.6.19)."""

ENTRY = Requirement(
    "multiboot2/entry-point", "The image is entered at its entry address", "Multiboot2 2.0, sections 3.1.6 to 3.1.9"
)
MAGIC = Requirement("multiboot2/eax", "EAX is 0x36d76289", STATE)
CODE = Requirement(
    "multiboot2/cs", "CS is a 32-bit code segment for read and execute with offset 0 and limit 0xffffffff", STATE
)
DATA = Requirement(
    "multiboot2/data",
    "DS, ES, FS, GS and SS are 32-bit data segments for read and write with offset 0 and limit 0xffffffff",
    STATE,
)
CR0 = Requirement("multiboot2/cr0", "In CR0 PG is clear and PE is set", STATE)
FLAGS = Requirement("multiboot2/eflags", "In EFLAGS VM and IF are clear", STATE)
INFO = Requirement(
    "multiboot2/information", "EBX is the physical address of the information, at a multiple of 8", f"{STATE}; {INFORMATION}"
)
TAGS = Requirement(
    "multiboot2/tags",
    "Tags follow each other at multiples of 8 up to total_size, where the last has type 0 and size 8",
    INFORMATION,
)
RESERVED = Requirement("multiboot2/reserved", "The reserved field of the information is 0", INFORMATION)
LOWER = Requirement("multiboot2/mem-lower", "mem_lower is at most 640", "Multiboot2 2.0, section 3.6.3")
TEXTS = Requirement("multiboot2/strings", "Strings end with a NUL in their tag", "Multiboot2 2.0, sections 3.6.5 to 3.6.7")
MODULES = Requirement(
    "multiboot2/modules",
    "Modules are in memory, beside each other, the kernel and the information",
    "Multiboot2 2.0, section 3.6.6",
)
MAP = Requirement(
    "multiboot2/memory-map", "The memory map has entries of a multiple of 8 bytes, version 0", "Multiboot2 2.0, section 3.6.8"
)
RSDP = Requirement(
    "multiboot2/acpi", "The ACPI tags hold RSDPs whose bytes add up to 0", "Multiboot2 2.0, sections 3.6.15 and 3.6.16"
)
ALIGNED = Requirement(
    "multiboot2/module-align", "Modules lie on page boundaries for a header that asks for it", "Multiboot2 2.0, section 3.1.11"
)
WANTED = Requirement(
    "multiboot2/requested", "What the header requests is there, unless it may be left out", "Multiboot2 2.0, section 3.1.4"
)
REQUIREMENTS = (
    ENTRY, MAGIC, CODE, DATA, CR0, FLAGS, INFO, TAGS, RESERVED, LOWER, TEXTS, MODULES, MAP, RSDP, ALIGNED, WANTED,
)  # fmt: skip


def check(moment: Moment, findings: Findings) -> None:
    """Processor, and the information behind EBX."""
    cpu = moment.cpu
    at, eax = cpu.registers.rip, cpu.registers.rax & 0xFFFF_FFFF
    findings.demand(ENTRY, at == moment.loaded.entry_point, f"EIP is {at:#x} and not {moment.loaded.entry_point:#x}")
    findings.demand(MAGIC, eax == MULTIBOOT2_BOOTLOADER_MAGIC, f"it is {eax:#x}")
    if cpu.mode == "long64":
        uefi.execution(moment, findings)  # section 3.5: the state that UEFI defines
    else:
        state_386(moment, findings, CODE, DATA, CR0, FLAGS)
    address = cpu.registers.rbx & 0xFFFF_FFFF
    try:
        info = read_layout(moment.memory, address, Multiboot2Info, "the information")
        if info.total_size > MAX_INFORMATION:
            raise Unreadable(f"total_size is {info.total_size:#x}")
        raw = read(moment.memory, address, info.total_size, "the information")
    except Unreadable as error:
        findings.demand(INFO, False, str(error))
        return
    findings.demand(INFO, address % 8 == 0, f"it is {address:#x}")
    findings.demand(RESERVED, info.reserved == 0, f"it is {info.reserved:#x}")
    tags = list(_tags(findings, raw, Multiboot2Info.SIZE))
    header = list(_header_tags(moment))
    _contents(findings, tags)
    _modules(moment, findings, tags, (address, address + len(raw)), HEADER_TAG["MODULE_ALIGN"] in {kind for kind, *_ in header})
    _requested(findings, {kind for kind, _ in tags}, header)


def _tags(findings: Findings, raw: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """(type, the whole tag), without the last."""
    while at + Multiboot2Tag.SIZE <= len(raw):
        tag = Multiboot2Tag.parse(raw[at : at + Multiboot2Tag.SIZE])
        if tag.type == TAG["END"]:
            good = tag.size == Multiboot2Tag.SIZE and at + tag.size == len(raw)
            findings.demand(TAGS, good, f"it has {tag.size} bytes and {len(raw) - at} are left")
            return
        whole = tag.size >= Multiboot2Tag.SIZE and at + tag.size <= len(raw)
        if not findings.demand(TAGS, whole, f"a tag of type {tag.type} has {tag.size} bytes"):
            return
        yield tag.type, raw[at : at + tag.size]
        at += (tag.size + 7) & ~7
    findings.demand(TAGS, False, "there is no last one")


def _contents(findings: Findings, tags: list[tuple[int, bytes]]) -> None:
    starts = {TAG["CMDLINE"]: 8, TAG["BOOT_LOADER_NAME"]: 8, TAG["MODULE"]: Multiboot2Module.SIZE}
    for kind, data in tags:
        if kind in starts:
            findings.demand(TEXTS, 0 in data[starts[kind] :], f"{MULTIBOOT2_TAGS[kind]} has none")
        elif kind == TAG["BASIC_MEMINFO"]:
            lower = Multiboot2BasicMeminfo.parse(data.ljust(Multiboot2BasicMeminfo.SIZE, b"\xff")).mem_lower
            findings.demand(LOWER, lower <= LOWER_LIMIT, f"it is {lower}")
        elif kind == TAG["MMAP"]:
            head = Multiboot2Mmap.parse(data.ljust(Multiboot2Mmap.SIZE, b"\0"))
            step, rest = head.entry_size, len(data) - Multiboot2Mmap.SIZE
            good = step >= Multiboot2MmapEntry.SIZE and not step % 8 and rest > 0 and not rest % step
            findings.demand(
                MAP, good and head.entry_version == 0, f"{rest} bytes, entries of {step}, version {head.entry_version}"
            )
        elif kind in (TAG["ACPI_OLD"], TAG["ACPI_NEW"]):
            rsdp = data[Multiboot2Tag.SIZE :]
            sums = not sum(rsdp[: Rsdp1.SIZE]) & 0xFF and (kind == TAG["ACPI_OLD"] or not sum(rsdp) & 0xFF)
            findings.demand(RSDP, rsdp[:8] == RSDP_SIGNATURE and sums, f"{MULTIBOOT2_TAGS[kind]} does not")


def _modules(
    moment: Moment, findings: Findings, tags: list[tuple[int, bytes]], information: tuple[int, int], aligned: bool
) -> None:
    modules = []
    for kind, data in tags:
        if kind != TAG["MODULE"] or len(data) < Multiboot2Module.SIZE:
            continue
        module = Multiboot2Module.parse(data)
        one = module.mod_start, module.mod_end
        there = one[0] <= one[1] and moment.memory.find(one[0], max(one[1] - one[0], 1)) is not None
        findings.demand(MODULES, there, f"{named(one)} is no memory")
        findings.demand(ALIGNED, not aligned or one[0] % PAGE == 0, f"there is one at {named(one)}")
        modules.append(one)
    kernel = moment.loaded.base, moment.loaded.base + moment.loaded.size
    for one, two in overlaps([kernel, information, *modules]):
        findings.demand(MODULES, False, f"{named(one)} and {named(two)} overlap")


def _header_tags(moment: Moment) -> Iterator[tuple[int, int, bytes]]:
    """(type, flags, the whole tag) of the header as it was loaded; none when it was not."""
    size = min(moment.loaded.size, 2 * MULTIBOOT2_SEARCH)
    try:
        raw = moment.memory.read(moment.loaded.base, size)
    except BusError:
        return
    for start in range(0, size - Multiboot2Header.SIZE + 1, 8):
        if raw[start : start + 4] != MULTIBOOT2_HEADER_MAGIC.to_bytes(4, "little"):
            continue
        header = Multiboot2Header.parse(raw[start : start + Multiboot2Header.SIZE])
        if header.magic + header.architecture + header.header_length + header.checksum & 0xFFFF_FFFF:
            continue
        at, end = start + header.SIZE, min(start + header.header_length, size)
        while at + Multiboot2HeaderTag.SIZE <= end:
            tag = Multiboot2HeaderTag.parse(raw[at : at + Multiboot2HeaderTag.SIZE])
            if tag.size < tag.SIZE or tag.type == HEADER_TAG["END"]:
                return
            yield tag.type, tag.flags, raw[at : at + tag.size]
            at += (tag.size + 7) & ~7
        return


def _requested(findings: Findings, there: set[int], header: list[tuple[int, int, bytes]]) -> None:
    for kind, flags, data in header:
        if kind != HEADER_TAG["INFORMATION_REQUEST"] or flags & 1:
            continue
        for at in range(8, len(data) - 3, 4):
            wanted = int.from_bytes(data[at : at + 4], "little")
            if wanted in LEFT_OUT and TAG["EFI_BS"] in there:
                continue
            findings.demand(WANTED, wanted in there, f"{MULTIBOOT2_TAGS.get(wanted, wanted)} is not")
