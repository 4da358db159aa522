"""Requirements on boot_params at the 32-bit and the 64-bit entry of a Linux kernel.

What the kernel tolerates is not looked at: an unordered memory map, a header whose bits for the real-mode code are gone.
"""

from __future__ import annotations

from efishim.lab.abi import acpi, ramdisk
from efishim.lab.abi.ranges import Range, holds, named, overlap
from efishim.lab.snapshot.guest_read import Unreadable, read_layout
from efishim.lab.snapshot.setup_data import setup_data_chain
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.bootparams import (
    E820_MAX_ENTRIES_ZEROPAGE,
    EFI32_LOADER_SIGNATURE,
    EFI64_LOADER_SIGNATURE,
    HDRS_MAGIC,
    BootParams,
    SetupData,
)
from efishim.wire.linux_header import XLF_KERNEL_64
from efishim.wire.uefi import MemoryDescriptor

BOOT_RST = "Documentation/arch/x86/boot.rst"
ZERO_PAGE = "Documentation/arch/x86/zero-page.rst"
E820_RAM = 1
MIN_ALIGNMENT_FROM, CMDLINE_SIZE_FROM = 0x20A, 0x206
CMDLINE_SIZE_BEFORE = 255
PROTECTED_MODE_PLACE = 0x10_0000
"""Where the real-mode protocol puts the kernel, whatever alignment it has: it moves itself from there."""
LAST_SUBARCH = 4
EFI_SIGNATURES = {EFI32_LOADER_SIGNATURE: 4, EFI64_LOADER_SIGNATURE: 8}

READABLE = Requirement("boot_params/memory", "RSI points to a struct boot_params", f'{BOOT_RST}, "32-bit Boot Protocol"')
HEADER = Requirement(
    "boot_params/header", "The setup header of the image is in boot_params at 0x1f1", f'{BOOT_RST}, "32-bit Boot Protocol"'
)
ZEROED = Requirement(
    "boot_params/sentinel",
    "boot_params was zero before it was filled, so that its sentinel byte is zero",
    f'{BOOT_RST}, "32-bit Boot Protocol"; arch/x86/include/asm/bootparam_utils.h',
)
LOADER = Requirement("boot_params/loader", "type_of_loader names a boot loader", f'{BOOT_RST}, "type_of_loader"')
LINE = Requirement(
    "boot_params/command-line",
    "cmd_line_ptr points to a command line of at most cmdline_size characters and a NUL",
    f'{BOOT_RST}, "cmd_line_ptr" and "cmdline_size"',
)
ALIGNED = Requirement(
    "boot_params/alignment",
    "A relocatable kernel is loaded at a multiple of 1 << min_alignment and of the kernel_alignment that the loader left",
    f'{BOOT_RST}, "kernel_alignment" and "min_alignment"',
)
E820 = Requirement(
    "boot_params/e820", "e820_table has 1 to 128 entries, each with a size and a type", f"{ZERO_PAGE}, 0x2d0 and 0x1e8"
)
KERNEL_RAM = Requirement(
    "boot_params/kernel-in-ram", "The init_size bytes that the kernel needs at first are RAM", f'{BOOT_RST}, "init_size"'
)
APART = Requirement(
    "boot_params/apart",
    "Zero page, command line, ramdisk and setup_data lie beside each other and beside the kernel",
    f'{BOOT_RST}, "init_size" and "Memory Layout"',
)
CHAIN = Requirement("boot_params/setup-data", "setup_data is a list of nodes that ends", f'{BOOT_RST}, "setup_data"')
SUBARCH = Requirement("boot_params/subarch", "hardware_subarch is one that is defined", f'{BOOT_RST}, "hardware_subarch"')
EFI = Requirement(
    "boot_params/efi-info",
    "efi_info with a signature has a system table and a memory map of whole descriptors, and EL64 a 64-bit kernel",
    f"{ZERO_PAGE}, 0x1c0; arch/x86/include/uapi/asm/bootparam.h",
)
RSDP = acpi.rule("boot_params/rsdp", "acpi_rsdp_addr", f'{BOOT_RST}, "acpi_rsdp_addr"; ACPI 6.5, section 5.2.5.3')
REQUIREMENTS = (
    READABLE, HEADER, ZEROED, LOADER, LINE, ALIGNED, E820, KERNEL_RAM, APART, CHAIN, SUBARCH, EFI, RSDP, *ramdisk.REQUIREMENTS,
)  # fmt: skip


def command_line(memory: PhysicalMemory, params: BootParams) -> bytes | None:
    """The command line, or None when there is none or it is longer than it may be."""
    at, hdr = params.cmd_line(), params.hdr
    size = hdr.cmdline_size if hdr.version >= CMDLINE_SIZE_FROM else CMDLINE_SIZE_BEFORE
    if not at or size > 1 << 20:
        return None
    try:
        text = memory.c_string(at, size + 1)
    except BusError:
        return None
    return text if len(text) <= size else None


def check(moment: Moment, findings: Findings, address: int) -> BootParams | None:
    """All of it; gives the structure, or None when there is none."""
    memory = moment.memory
    try:
        params = read_layout(memory, address, BootParams, "boot_params")
    except Unreadable as error:
        findings.demand(READABLE, False, str(error))
        return None
    hdr = params.hdr
    if not findings.demand(
        HEADER, hdr.header == HDRS_MAGIC, f"RSI is {address:#x}, and the magic of the header there is {hdr.header:#x}"
    ):
        return None
    findings.demand(ZEROED, params.sentinel == 0, f"it is {params.sentinel:#x}")
    findings.demand(LOADER, hdr.type_of_loader != 0, "it is 0, which is for loaders before protocol 2.00")
    text = command_line(memory, params)
    findings.demand(LINE, text is not None, f"at {params.cmd_line():#x} there is none")
    findings.demand(SUBARCH, hdr.hardware_subarch <= LAST_SUBARCH, f"it is {hdr.hardware_subarch:#x}")
    _alignment(moment, findings, params)
    ram = _memory_map(findings, params)
    kernel = _kernel(moment, params)
    findings.demand(KERNEL_RAM, holds(ram, kernel), f"{named(kernel)} is not all RAM in e820_table")
    line = (params.cmd_line(), params.cmd_line() + len(text) + 1) if text is not None else (0, 0)
    disk = ramdisk.check(findings, hdr, *params.ramdisk(), ram)
    parts = {"the kernel": kernel, "the zero page": (address, address + BootParams.SIZE), "the command line": line}
    parts["the ramdisk"] = disk
    parts |= _setup_data(moment, findings, params)
    _apart(findings, parts)
    _efi(findings, params)
    acpi.check(findings, RSDP, memory, params.acpi_rsdp_addr)
    return params


def _kernel(moment: Moment, params: BootParams) -> Range:
    """What the kernel needs before it can look at the memory map, from where it runs: boot.rst, "init_size"."""
    hdr, base = params.hdr, moment.loaded.base
    size = hdr.init_size or moment.loaded.size
    if not hdr.relocatable_kernel:
        return hdr.pref_address or base, (hdr.pref_address or base) + size
    step = max(hdr.kernel_alignment, 1)
    start = max(-(-base // step) * step, hdr.pref_address)
    return start, start + size


def _alignment(moment: Moment, findings: Findings, params: BootParams) -> None:
    hdr, base = params.hdr, moment.loaded.base
    if hdr.version < MIN_ALIGNMENT_FROM or not hdr.relocatable_kernel or base == PROTECTED_MODE_PLACE:
        return
    step = hdr.kernel_alignment
    good = step > 0 and not step & step - 1 and not base % step and not base % (1 << min(hdr.min_alignment, 63))
    found = f"it is at {base:#x}, kernel_alignment is {step:#x} and min_alignment {hdr.min_alignment}"
    findings.demand(ALIGNED, good, found)


def _memory_map(findings: Findings, params: BootParams) -> list[Range]:
    count = params.e820_entries
    findings.demand(E820, 0 < count <= E820_MAX_ENTRIES_ZEROPAGE, f"there are {count}")
    ranges = []
    for entry in params.e820():
        start, end = entry.addr, entry.addr + entry.size
        words = f"one is {named((start, end))} of type {entry.type}"
        findings.demand(E820, start < end <= 1 << 64 and entry.type != 0, words)
        if entry.type == E820_RAM:
            ranges.append((start, end))
    return ranges


def _setup_data(moment: Moment, findings: Findings, params: BootParams) -> dict[str, Range]:
    chain = setup_data_chain(moment.memory, params.hdr.setup_data)
    problems = [chain.problem, *(node.problem for node in chain.nodes)]
    for problem in filter(None, problems):
        findings.demand(CHAIN, False, problem)
    for node in chain.nodes:
        words = f"the node at {node.address:#x} has the type {node.type:#x}, which setup_data.h does not define"
        findings.demand(CHAIN, node.type_name != "unknown", words)
    return {
        f"the setup_data node at {node.address:#x}": (node.address, node.address + SetupData.SIZE + node.len)
        for node in chain.nodes
    }


def _apart(findings: Findings, parts: dict[str, Range]) -> None:
    names = list(parts)
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            words = f"{one} at {named(parts[one])} and {two} at {named(parts[two])} overlap"
            findings.demand(APART, not overlap(parts[one], parts[two]), words)


def _efi(findings: Findings, params: BootParams) -> None:
    info = params.efi_info
    signature = info.efi_loader_signature
    if not signature:
        return
    width = EFI_SIGNATURES.get(signature)
    if not findings.demand(EFI, width is not None, f"the signature is {signature:#x}"):
        return
    findings.demand(EFI, bool(info.efi_systab | info.efi_systab_hi), "efi_systab is null")
    step, size = info.efi_memdesc_size, info.efi_memmap_size
    whole = step >= MemoryDescriptor.sizeof() and size > 0 and not size % step and bool(info.efi_memmap | info.efi_memmap_hi)
    found = f"the map at {info.efi_memmap:#x} has {size:#x} bytes in steps of {step:#x}"
    findings.demand(EFI, whole and info.efi_memdesc_version == 1, found)
    wide = bool(params.hdr.xloadflags & XLF_KERNEL_64)
    findings.demand(EFI, wide or width != 8, "the signature is EL64 and the kernel is none of 64 bits")
