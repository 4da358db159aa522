"""Corrupted handovers: each is a valid handover with one fault, applied in the same way on any machine.

A fault names the boot flow and the change to make at its entry point. It sees a guest that is stopped at an instruction,
and not whether QEMU or efishim runs it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from efishim.errors import RouteError
from efishim.image.opened import Image
from efishim.wire.bootparams import BootParams
from efishim.wire.elf import XEN_ELFNOTE_PHYS32_ENTRY
from efishim.wire.linux_header import HEAP_END_BIAS, SETUP_STACK_SIZE
from efishim.wire.start_info import HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo
from efishim.wire.uefi import EFI_MEMORY_RUNTIME, BootServicesTable, MemoryDescriptor, SystemTable

MIB = 1 << 20
PAGE = 0x1000
DEFAULT_MEMORY = 512 * MIB
SPARE = 0x1E00_0000
"""RAM that stays unused until the kernel has read its boot information: new structures and command lines go there."""
JUNK = 0xA5
RAM, RESERVED = 1, 2
COMMAND_LINE_SIZE = 2048
"""arch/x86/include/asm/setup.h."""
RUNTIME_SERVICES_CODE, RUNTIME_SERVICES_DATA = 5, 6
KERNEL_START = "x86_64_start_kernel"
"""arch/x86/kernel/head64.c; boot_params is its argument, not copied yet."""

ARGUMENTS = ("rcx", "rdx")
"""Of a UEFI service on x86-64 (UEFI 2.10, 2.3.4.2)."""


class Guest(Protocol):
    """A guest that stands at an instruction; what is written is there when it goes on."""

    @property
    def image(self) -> Image:
        """What was booted."""

    def get(self, register: str) -> int:
        """A general register, `rip`, or the selector in a segment register."""

    def set(self, register: str, value: int) -> None:
        """Change a general register or `rip`."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a physical address."""

    def write(self, address: int, data: bytes) -> None:
        """Store bytes at a physical address; no code that ran already may lie there."""

    def once(self, linear: int, handler: Callable[[], None]) -> None:
        """Call `handler`, once, when the instruction at this linear address is next."""


Spoil = Callable[[Guest], None]


@dataclass(frozen=True)
class Fault:
    """One bad hand-over. `name` is what was done, `kind` which of the classes of mistakes it belongs to."""

    name: str
    kind: str
    flow: str
    """Of efishim.oracle.boot_flows."""
    summary: str
    spoil: Spoil = lambda guest: None
    """Done at the kernel's entry."""
    kernel: Callable[[bytes], bytes] | None = None
    """What becomes of the file that is loaded, for a loader that is to refuse it."""
    telling: tuple[str, ...] = ()
    """Regular expressions for lines of the kernel's log that tell of it; their groups, or all of the line, are compared."""
    memory: int = DEFAULT_MEMORY


# hvm_start_info


def _start_info(guest: Guest) -> tuple[int, HvmStartInfo]:
    address = guest.get("rbx") & 0xFFFF_FFFF
    return address, HvmStartInfo.parse(guest.read(address, HvmStartInfo.SIZE))


def _wrong_magic(guest: Guest) -> None:
    address, info = _start_info(guest)
    info.magic ^= 1
    guest.write(address, info.build())


def _old_version(guest: Guest) -> None:
    """Version 0 has no memory map, and there is no hypervisor that could be asked for one."""
    address, info = _start_info(guest)
    info.version = 0
    guest.write(address, info.build())


def _told_memory(guest: Guest) -> list[tuple[int, int, int]]:
    _, info = _start_info(guest)
    size = HvmMemmapTableEntry.SIZE
    raw = guest.read(info.memmap_paddr, size * info.memmap_entries)
    entries = [HvmMemmapTableEntry.parse(raw[at : at + size]) for at in range(0, len(raw), size)]
    return [(one.addr, one.size, one.type) for one in entries]


def _tell_memory(guest: Guest, entries: Iterable[tuple[int, int, int]]) -> None:
    """Put another memory map where there is room, and lead the kernel there."""
    address, info = _start_info(guest)
    told = [HvmMemmapTableEntry(addr=addr, size=size, type=kind) for addr, size, kind in entries]
    guest.write(SPARE, b"".join(one.build() for one in told))
    info.memmap_paddr, info.memmap_entries = SPARE, len(told)
    guest.write(address, info.build())


def _only_memory(*ranges: tuple[int, int]) -> Spoil:
    """No RAM but these ranges (start, end); what is not RAM stays."""

    def spoil(guest: Guest) -> None:
        others = [one for one in _told_memory(guest) if one[2] != RAM]
        _tell_memory(guest, [*((start, end - start, RAM) for start, end in ranges), *others])

    return spoil


OVERLAPS = (
    (0x0800_0000, 0x0100_0000, RESERVED),  # inside RAM
    (0x0A00_0000, 0x0020_0000, RAM),  # RAM that is told twice
    (0x0C00_0000, 0x0100_0000, RESERVED),
    (0x0C80_0000, 0x0100_0000, RAM),  # across the end of what is reserved
)


def _overlaps(guest: Guest) -> None:
    _tell_memory(guest, [*_told_memory(guest), *OVERLAPS])


def _module(guest: Guest) -> tuple[int, HvmModlistEntry]:
    _, info = _start_info(guest)
    return info.modlist_paddr, HvmModlistEntry.parse(guest.read(info.modlist_paddr, HvmModlistEntry.SIZE))


def _ramdisk_at(target: int, *, there: bool) -> Spoil:
    """Tell that the ramdisk lies elsewhere. Without `there` it is not there."""

    def spoil(guest: Guest) -> None:
        address, module = _module(guest)
        if there:
            guest.write(target, guest.read(module.paddr, module.size))
        module.paddr = target
        guest.write(address, module.build())

    return spoil


def _ramdisk_of(size: int) -> Spoil:
    """Tell that the ramdisk is of another size."""

    def spoil(guest: Guest) -> None:
        address, module = _module(guest)
        module.size = size
        guest.write(address, module.build())

    return spoil


def _without_end(guest: Guest, line: int) -> int:
    """A copy of the command line at `line` to which NUL comes only far behind what a kernel takes; gives its address."""
    text = guest.read(line, COMMAND_LINE_SIZE).partition(b"\0")[0]
    guest.write(SPARE, (text + b" endless=").ljust(4 * COMMAND_LINE_SIZE, b"a") + b"\0")
    return SPARE


def _unterminated(guest: Guest) -> None:
    """A command line without an end."""
    address, info = _start_info(guest)
    info.cmdline_paddr = _without_end(guest, info.cmdline_paddr)
    guest.write(address, info.build())


# The image in memory


def _junk_in_bss(guest: Guest) -> None:
    """What an ELF file's segments have beyond the file is not zero."""
    for segment in guest.image.kernel.segments:
        rest = segment.memory_size - segment.file_size
        if rest > 0:
            guest.write(segment.physical + segment.file_size, bytes([JUNK]) * rest)


def _moved_elf(guest: Guest) -> None:
    """The whole kernel a page further on than its ELF file says, and entered there."""
    facts = guest.image.kernel
    size = facts.load_end - facts.load_start
    kernel = guest.read(facts.load_start, size)
    guest.write(facts.load_start, bytes([JUNK]) * PAGE)
    guest.write(facts.load_start + PAGE, kernel)
    guest.set("rip", guest.get("rip") + PAGE)


def _junk_behind_bzimage(guest: Guest) -> None:
    """Setup code and decompressor find junk where their BSS, heap and stack will be."""
    header, setup_size, code = _bzimage(guest.image)
    setup = guest.get("ds") << 4
    heap = header["heap_end_ptr"] + HEAP_END_BIAS - SETUP_STACK_SIZE
    guest.write(setup + setup_size, bytes([JUNK]) * (heap - setup_size))
    start = header["code32_start"] + len(code)
    guest.write(start, bytes([JUNK]) * (header["code32_start"] + header["init_size"] - start))


def _bzimage(image: Image) -> tuple[dict[str, int], int, bytes]:
    linux = image.source.bzimage
    if linux is None:
        raise RouteError(f"{image.path} has no Linux setup header")
    names = ("heap_end_ptr", "code32_start", "init_size")
    return {name: linux.value(name) for name in names}, linux.setup_size, image.source.data[linux.setup_size :]


MISPLACED = 64 * MIB + 0x1000
"""A page behind a multiple of every alignment that a kernel asks for."""


def _misplaced(alignment: int | None) -> Spoil:
    """At its 32-bit entry, the decompressor stands where no loader may put it; `alignment` is what boot_params says then."""

    def spoil(guest: Guest) -> None:
        header, _, code = _bzimage(guest.image)
        entry = header["code32_start"]

        def at_entry() -> None:
            guest.write(MISPLACED, code)
            if alignment is not None:
                address, params = _boot_params(guest)
                params.hdr.kernel_alignment = alignment
                guest.write(address, params.build())
            guest.set("rip", MISPLACED)

        guest.once(entry, at_entry)

    return spoil


# boot_params, at the 32-bit entry


def _boot_params(guest: Guest) -> tuple[int, BootParams]:
    address = guest.get("rsi") & 0xFFFF_FFFF
    return address, BootParams.parse(guest.read(address, BootParams.SIZE))


def _with_boot_params(change: Callable[[Guest, BootParams], None]) -> Spoil:
    """Change what the setup code has made."""

    def spoil(guest: Guest) -> None:
        def at_entry() -> None:
            address, params = _boot_params(guest)
            change(guest, params)
            guest.write(address, params.build())

        header, _, _ = _bzimage(guest.image)
        guest.once(header["code32_start"], at_entry)

    return spoil


def _no_e820(_guest: Guest, params: BootParams) -> None:
    params.e820_entries = 0
    params.alt_mem_k = 0
    params.screen_info.ext_mem_k = 0


def _endless_line(guest: Guest, params: BootParams) -> None:
    params.hdr.cmd_line_ptr = _without_end(guest, params.hdr.cmd_line_ptr)


NO_NOTE = 0x7FFF_FFFF
_NOTE = re.compile(rb"\x04\0\0\0[\x04\x08]\0\0\0" + re.escape(struct.pack("<I", XEN_ELFNOTE_PHYS32_ENTRY)) + rb"Xen\0")


def without_note(kernel: bytes) -> bytes:
    """The PVH entry's ELF note gets a type that means nothing."""
    found = _NOTE.search(kernel)
    if found is None:
        raise RouteError("the kernel has no XEN_ELFNOTE_PHYS32_ENTRY note that could be taken away")
    return kernel[: found.start() + 8] + struct.pack("<I", NO_NOTE) + kernel[found.start() + 12 :]


# EFI


def boot_service(guest: Guest, name: str) -> int:
    """Address of a boot service, at the EFI entry."""
    table = SystemTable.parse(guest.read(guest.get("rdx"), SystemTable.sizeof()))
    services = BootServicesTable.parse(guest.read(table.BootServices, BootServicesTable.sizeof()))
    address: int = getattr(services, name)
    return address


def _stale_key(times: int) -> Spoil:
    """So many calls of ExitBootServices have the key of the memory map before the last."""

    def spoil(guest: Guest) -> None:
        service = boot_service(guest, "ExitBootServices")
        handle = guest.get(ARGUMENTS[0])
        left = times

        def called() -> None:
            nonlocal left
            caller = int.from_bytes(guest.read(guest.get("rsp"), 8), "little")
            if guest.get(ARGUMENTS[0]) == handle and left:
                guest.set(ARGUMENTS[1], guest.get(ARGUMENTS[1]) - 1)
                left -= 1
            if left:
                guest.once(caller, lambda: guest.once(service, called))

        guest.once(service, called)

    return spoil


def _kernel_start(image: Image) -> int:
    symbols = image.symbols
    address = symbols.address_of(KERNEL_START) if symbols is not None else None
    if address is None:
        raise RouteError(f"{image.path} is no 64-bit Linux kernel that says where its {KERNEL_START} is")
    return address


def require(image: Image) -> None:
    """Raises RouteError for what is no 64-bit Linux as a bzImage with its symbols."""
    _bzimage(image)
    _kernel_start(image)


def _change_map(guest: Guest, change: Callable[[MemoryDescriptor], None]) -> None:
    """Change each descriptor of the memory map that the kernel got from the firmware, before it looks at it."""
    address = _kernel_start(guest.image)

    def at_start() -> None:
        info = BootParams.parse(guest.read(guest.get("rdi"), BootParams.SIZE)).efi_info
        start = info.efi_memmap_hi << 32 | info.efi_memmap
        for at in range(start, start + info.efi_memmap_size, info.efi_memdesc_size):
            descriptor = MemoryDescriptor.parse(guest.read(at, MemoryDescriptor.sizeof()))
            change(descriptor)
            guest.write(at, descriptor.build())

    guest.once(address, at_start)


def _without_runtime(descriptor: MemoryDescriptor, kind: int) -> None:
    """The descriptor does not say any more that this type of memory is needed at runtime."""
    if descriptor.Type == kind:
        descriptor.Attribute &= ~EFI_MEMORY_RUNTIME


def _not_runtime(kind: int) -> Spoil:
    """No memory of the type is marked as needed at runtime."""
    return lambda guest: _change_map(guest, lambda descriptor: _without_runtime(descriptor, kind))


def _short_runtime(guest: Guest) -> None:
    """Of the range in which the system table lies only the last pages are told, from the tables on; no other data at all."""
    system = guest.get("rdx")
    services = SystemTable.parse(guest.read(system, SystemTable.sizeof())).RuntimeServices
    low = min(system, services) // PAGE * PAGE

    def change(descriptor: MemoryDescriptor) -> None:
        start, end = descriptor.PhysicalStart, descriptor.PhysicalStart + descriptor.NumberOfPages * PAGE
        if start <= low < end:
            descriptor.PhysicalStart, descriptor.NumberOfPages = low, (end - low) // PAGE
        else:
            _without_runtime(descriptor, RUNTIME_SERVICES_DATA)

    _change_map(guest, change)


PVH, LINUX16, OVMF = "hvmlite/pvh", "lilo/linux16+linuxboot", "firmware/efi"
RAMDISK_LINES = (r"^(RAMDISK: \[mem .*)", r"^(Move RAMDISK from \[mem \S+) ", r"^(VFS: Cannot open .*)")
LINE = (r"^Command line: (?:auto BOOT_IMAGE=\S+ )?(.* endless=a{100})",)
"""LILO puts words of its own before it."""
MAP_LINES = (
    r"^BIOS-e820: \[mem 0x0{8}(00100000-0x0{8}07ffffff)\] (.*)",
    r"^BIOS-e820: \[mem 0x0{8}(0[89a-c]\w{6}-0x\w{16})\] (.*)",
    r"^BIOS-e820: \[mem 0x0{8}(0d\w{6})-0x\w{16}\] (.*)",
)

FAULTS = (
    Fault("bss-junk", "BSS not zeroed", PVH, "junk behind the file's part of each ELF segment", _junk_in_bss),
    Fault("bss-junk-bzimage", "BSS not zeroed", LINUX16, "junk in BSS, heap and stack of setup code and decompressor",
          _junk_behind_bzimage),
    Fault("memory-1m", "memory map too small", PVH, "no RAM but the first 636 KiB", _only_memory((0, 0x9F000)),
          telling=(r"^BIOS-e820: \[mem 0x0+(\w+)-0x0+(\w+)\] usable",)),
    Fault("memory-without-kernel", "memory map too small", PVH, "RAM ends where the kernel begins",
          _only_memory((0, 0x9F000), (MIB, 16 * MIB))),
    Fault("no-e820", "memory map too small", LINUX16, "no e820 map and no other word of memory", _with_boot_params(_no_e820)),
    Fault("misplaced-elf", "misaligned load", PVH, "the kernel is loaded a page further on than its ELF file says", _moved_elf),
    Fault("misplaced", "misaligned load", LINUX16, "the decompressor is entered a page behind an aligned address",
          _misplaced(None)),
    Fault("misplaced-alignment", "misaligned load", LINUX16, "the same, and kernel_alignment is a page", _misplaced(0x1000)),
    Fault("initrd-beyond-ram", "initrd above the limit", PVH, "the ramdisk's address is 256 MiB behind the end of RAM",
          _ramdisk_at(0x3000_0000, there=False), telling=RAMDISK_LINES),
    Fault("initrd-above-limit", "initrd above the limit", PVH, "the ramdisk lies in RAM above initrd_addr_max",
          _ramdisk_at(0x8100_0000, there=True), telling=RAMDISK_LINES, memory=2560 * MIB),
    Fault("initrd-too-large", "initrd above the limit", PVH, "the ramdisk is said to be larger than RAM",
          _ramdisk_of(1 << 30)),
    Fault("cmdline-endless-bzimage", "command line unterminated", LINUX16, "the same, before the decompressor",
          _with_boot_params(_endless_line), telling=LINE),
    Fault("cmdline-endless", "command line unterminated", PVH, "no NUL in 8 KiB", _unterminated,
          telling=LINE),
    Fault("e820-overlap", "e820 overlap", PVH, "RAM and reserved ranges that overlap", _overlaps, telling=MAP_LINES),
    Fault("wrong-magic", "wrong start_info magic", PVH, "one bit of hvm_start_info.magic", _wrong_magic),
    Fault("old-version", "wrong start_info magic", PVH, "version 0, which has no memory map", _old_version),
    Fault("no-note", "missing note", PVH, "the ELF note of the entry has another type", kernel=without_note),
    Fault("stale-key-once", "stale MapKey", OVMF, "the first ExitBootServices has an old key", _stale_key(1)),
    Fault("stale-key", "stale MapKey", OVMF, "every ExitBootServices has an old key", _stale_key(8)),
    Fault("no-runtime-code", "runtime memory not mapped", OVMF, "runtime code is not marked EFI_MEMORY_RUNTIME",
          _not_runtime(RUNTIME_SERVICES_CODE)),
    Fault("no-runtime-data", "runtime memory not mapped", OVMF, "runtime data is not marked EFI_MEMORY_RUNTIME",
          _not_runtime(RUNTIME_SERVICES_DATA)),
    Fault("short-runtime-data", "runtime memory not mapped", OVMF, "of runtime data only the pages with the tables are told",
          _short_runtime),
)  # fmt: skip
"""All of them, each class of mistakes at least once."""

HEALTHY = tuple(Fault(f"healthy-{flow.partition('/')[0]}", "", flow, "nothing is spoilt") for flow in (PVH, LINUX16, OVMF))
"""The same boot flows with an intact handover."""


def find_fault(name: str) -> Fault:
    """The fault of that name. Raises KeyError."""
    return next(one for one in (*FAULTS, *HEALTHY) if one.name == name)


__all__ = ["FAULTS", "HEALTHY", "Fault", "Guest", "boot_service", "find_fault", "require", "without_note"]
