"""boot_params as filled in by kexec_file_load, with which a running kernel boots another.

Source: arch/x86/kernel/kexec-bzimage64.c (bzImage64_load, setup_boot_parameters), arch/x86/purgatory/entry64.S; the values
agree with what kexec of a 6.1 kernel left in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from efishim.errors import ProviderError, UsageError
from efishim.provider import (
    PAGE,
    BootInformation,
    CpuState,
    Entry,
    Handover,
    MachineFirmware,
    OptionHelp,
    Segment,
    Specification,
    Structure,
)
from efishim.wire.bootparams import EFI64_LOADER_SIGNATURE, BootParams, EfiSetupData, SetupData
from efishim.wire.x86 import CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME, EFER_NXE, EFER_SCE
from efishim_plugins.boot_params import memory_map as e820
from efishim_plugins.boot_params import states, structures
from efishim_plugins.boot_params.header import (
    LOW_HALF,
    VIDEO_TYPE_EFI,
    checked_command_line,
    fresh,
    header_of,
    set_command_line,
    set_framebuffer,
    set_ramdisk,
)
from efishim_plugins.boot_params.reading import read_back

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, EfiFacts, GuestMemory, Loaded

SOURCES: Mapping[str, MachineFirmware] = {
    "bios": MachineFirmware.BIOS,
    "efi": MachineFirmware.EFI_RUNTIME,
    "pvh": MachineFirmware.NONE,
}
LOADER_TYPE = 0x0D << 4
ELFCOREHDR_ROOM = 30
"""MAX_ELFCOREHDR_STR_LEN: what a crash kernel's command line would get in addition."""
LOWEST, BELOW = 0x3000, 0xA_0000
MIB = 1 << 20
LARGEST_EXT_MEM_K, LARGEST_ALT_MEM_K = 0xFC00, 0xFFFF_FFFF
ISA_START = 0xA_0000
SECURE_BOOT_DISABLED = 2
SKIP_QUIRKS = 1
"""screen_info.capabilities: the EFI stub knows the framebuffer's address for sure."""
COLUMNS, LINES, NO_EGA = 80, 25, 0x10
"""What setup code finds where int 10h does nothing: it takes the adapter for a CGA (arch/x86/boot/video.c)."""
CONTROL = {
    "cr0": CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_PG,
    "cr4": CR4_PAE,
    "efer": EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE,
}
"""identity_mapped in relocate_kernel_64.S keeps PE, ET, MP, NE and PG, and PAE; EFER keeps the first kernel's SCE and NXE."""
TASK = Segment(0x40, 0xFFFF_FE00_0000_3000, 0x4087, 0x0089)
"""The first kernel's task register: its selector, and the fixed place in its cpu_entry_area."""


class Kexec:
    """kexec_file_load of Linux 6.1."""

    name = "kexec"
    summary = "kexec: a running Linux kernel boots another through its 64-bit entry"
    structure = "boot_params"
    specifications = (
        Specification("The Linux/x86 Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
        Specification("kexec_file_load(2)", "https://man7.org/linux/man-pages/man2/kexec_file_load.2.html"),
    )
    limits = (
        "The first kernel is not run: the machine is as firmware left it, and no device has been used.",
        "There is no SETUP_RNG_SEED, which a kernel adds once its random generator is ready, because runs are deterministic.",
        "There is no crash kernel, no IMA list and no SETUP_KEXEC_KHO.",
        "kexec passes one ramdisk; of several, only the first is used.",
        "kexec_file_load truncates memory maps with more than 128 entries.",
        "The page tables identity-map 4 GiB; the first kernel's would map all of its memory.",
        "From a first kernel on a BIOS, screen_info is what its setup code finds on a machine without a display.",
    )
    entries = (
        Entry(
            "linux64", "the 64-bit entry, with the kernel loaded as high as possible below 4 GiB", through_shim=False, high=True
        ),
    )
    options = (OptionHelp("source", "bios, efi or pvh: how the first kernel was started", "bios"),)

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """What the first kernel had, or what it left of EFI. Raises UsageError."""
        return SOURCES[_source(options)]

    def refuses(self, entry: str, image: bytes, options: Mapping[str, str]) -> str:
        """A kernel whose shortest command line would be too long with what a crash kernel's would get."""
        room = header_of(image).cmdline_size
        return f"kexec needs {ELFCOREHDR_ROOM + 1} bytes of command line, and this kernel takes {room}" * (
            room <= ELFCOREHDR_ROOM
        )

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write one segment: boot_params, command line, EFI memory map, setup_data. Raises UsageError, ProviderError."""
        source, command_line = _source(request.options), checked_command_line(request)
        efi = request.facts.efi if source == "efi" else None
        if source == "efi" and efi is None:
            raise ProviderError("kexec from an EFI machine needs to know what is left of the firmware")
        room = header_of(request.image).cmdline_size
        if len(command_line) + 1 + ELFCOREHDR_ROOM > room:
            raise ProviderError(f"kexec takes a command line of up to {room - ELFCOREHDR_ROOM - 1} bytes for this kernel")
        params = _params(request, source)
        table = _memory_map(request, source, efi)
        left_out = e820.put_table(params, table)
        _memory_sizes(params, table)
        map_offset = _aligned(BootParams.SIZE + len(command_line) + 1 + ELFCOREHDR_ROOM)
        firmware_map = e820.runtime_part(efi) if efi is not None else b""
        node_offset = map_offset + _aligned(len(firmware_map))
        size = node_offset + (SetupData.SIZE + EfiSetupData.SIZE if efi is not None else 0)
        # The page below is the stack of the purgatory, which cpu_state has to find from the address alone.
        address = PAGE + arena.place(PAGE + size, align=PAGE, above=LOWEST, below=BELOW, high=True, what="boot_params")
        segment = bytearray(size)
        if efi is not None:
            _efi_state(params, efi, address + map_offset, len(firmware_map))
            params.hdr.setup_data = address + node_offset
            body = EfiSetupData(fw_vendor=efi.fw_vendor, tables=efi.tables, smbios=efi.smbios)
            segment[node_offset:] = e820.node(e820.SETUP_EFI, body.build(), 0)
            segment[map_offset : map_offset + len(firmware_map)] = firmware_map
        set_command_line(params, address + BootParams.SIZE)
        segment[: BootParams.SIZE] = params.build()
        segment[BootParams.SIZE : BootParams.SIZE + len(command_line)] = command_line
        memory.write(address, segment)
        return Handover(address, notes=_notes(request, left_out))

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse boot_params. Raises ProviderError."""
        return read_back(memory, handover.address)

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """boot_params and what it points to."""
        return structures.of(memory, handover.address)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """As the purgatory jumps: RSI points to boot_params, the other registers are zero. Raises ProviderError."""
        if entry != "linux64":
            raise ProviderError(f"the provider kexec has no native entry {entry!r}")
        at = handover.address or 0
        state = states.long(loaded.entry_point, at, rsp=at, **CONTROL)
        return replace(state, segments={**state.segments, "tr": TASK})


def _source(options: Mapping[str, str]) -> str:
    source = options.get("source", "bios")
    if source not in SOURCES:
        raise UsageError(f"kexec.source takes {', '.join(SOURCES)}, not {source!r}")
    return source


def _aligned(size: int) -> int:
    return -(-size // 16) * 16


def _params(request: BootRequest, source: str) -> BootParams:
    params = fresh(request.image)
    params.hdr.type_of_loader, params.hdr.loadflags = LOADER_TYPE, 0
    set_ramdisk(params, request.modules[:1])
    params.acpi_rsdp_addr = request.facts.rsdp or 0
    screen, framebuffer = params.screen_info, request.facts.framebuffer
    if source == "efi" and framebuffer is not None:
        set_framebuffer(params, framebuffer, VIDEO_TYPE_EFI)
        screen.pages, screen.capabilities = 1, screen.capabilities | SKIP_QUIRKS
    elif source == "bios":
        screen.orig_video_cols, screen.orig_video_lines, screen.orig_video_ega_bx = COLUMNS, LINES, NO_EGA
    return params


def _memory_map(request: BootRequest, source: str, efi: EfiFacts | None) -> list[e820.E820]:
    """The first kernel's e820_table_kexec: what it was told. Its EFI stub had made it of the firmware's memory map, and its PVH
    entry adds the hole below 1 MiB itself (arch/x86/platform/pvh/enlighten.c).
    """
    table = e820.ranges(request.facts.memory_map)
    if efi is not None:
        return e820.overlaid(table, e820.kept_ranges(efi))
    return e820.overlaid(table, [(ISA_START, MIB - ISA_START, e820.RESERVED)]) if source == "pvh" else table


def _memory_sizes(params: BootParams, table: list[e820.E820]) -> None:
    """KiB of the RAM around 1 MiB, counted to its last byte, as kexec does."""
    for start, size, kind in table:
        last = start + size - 1
        if kind == e820.RAM and start <= MIB < last:
            size_k = (last >> 10) - (MIB >> 10)
            params.screen_info.ext_mem_k = min(size_k, LARGEST_EXT_MEM_K)
            params.alt_mem_k = min(size_k, LARGEST_ALT_MEM_K)


def _efi_state(params: BootParams, efi: EfiFacts, memory_map: int, size: int) -> None:
    info = params.efi_info
    info.efi_loader_signature = EFI64_LOADER_SIGNATURE
    info.efi_systab, info.efi_systab_hi = efi.system_table & LOW_HALF, efi.system_table >> 32
    info.efi_memdesc_size, info.efi_memdesc_version = efi.descriptor_size, efi.descriptor_version
    info.efi_memmap, info.efi_memmap_hi, info.efi_memmap_size = memory_map & LOW_HALF, memory_map >> 32, size
    params.secure_boot = SECURE_BOOT_DISABLED


def _notes(request: BootRequest, left_out: int) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if len(request.modules) > 1:
        notes += (f"kexec takes one ramdisk: the first of {len(request.modules)} is passed on",)
    if left_out:
        notes += (f"kexec_file_load left {left_out} ranges out of the memory map",)
    return notes
