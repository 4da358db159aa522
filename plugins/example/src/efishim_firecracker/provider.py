"""Firecracker as a provider: boot_params or hvm_start_info at fixed addresses (src/vmm/src/arch/x86_64/mod.rs)."""

from __future__ import annotations

from typing import ClassVar

from efishim.errors import ProviderError
from efishim.provider import (
    Arena,
    BootInformation,
    BootRequest,
    CpuState,
    Entry,
    GuestMemory,
    Handover,
    Loaded,
    MemoryKind,
    MemoryRange,
    Module,
    OptionHelp,
    Provenance,
    Specification,
    Structure,
    text_at,
)
from efishim.wire.bootparams import HDRS_MAGIC, BootParams, SetupHeader
from efishim.wire.linux_header import BOOT_FLAG, HEADER_START
from efishim.wire.start_info import XEN_HVM_START_MAGIC_VALUE, HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo
from efishim_firecracker import processor
from efishim_firecracker.places import (
    COMMAND_LINE,
    COMMAND_LINE_SIZE,
    GDT,
    MEMORY_MAP,
    MODULE_LIST,
    PDE,
    PML4,
    START_INFO,
    ZERO_PAGE,
    Row,
    memory_map,
    put,
)

UNKNOWN_LOADER = 0xFF
ALIGNMENT = 0x100_0000
MOST = 64
"""Ranges of memory and modules that are read back."""


class Firecracker:
    """Amazon's virtual machine monitor for small machines."""

    name = "firecracker"
    summary = "Firecracker's loader: boot_params or hvm_start_info at fixed addresses, without firmware"
    structure = "boot_params"
    specifications: ClassVar[tuple[Specification, ...]] = (
        Specification("Firecracker, src/vmm/src/arch/x86_64", "https://github.com/firecracker-microvm/firecracker"),
        Specification("The Linux/x86 Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
        Specification("PVH specification", "https://xenbits.xen.org/docs/unstable/misc/pvh.html"),
    )
    limits: ClassVar[tuple[str, ...]] = (
        "ACPI tables are the platform's; there is no MP table.",
        "A PVH guest gets no RSDP and searches the BIOS area: --option platform.bios_area=1 puts the tables there.",
        "Kernels lie where efishim loads them.",
        "It has one ramdisk: several lie behind each other in one range.",
    )
    entries: ClassVar[tuple[Entry, ...]] = (
        Entry("linux64", "the 64-bit entry of a bzImage", through_shim=False),
        Entry("elf64", "the 64-bit entry of vmlinux, for kernels without PVH", through_shim=False),
        Entry("pvh", "the PVH entry of vmlinux", through_shim=False),
    )
    options: ClassVar[tuple[OptionHelp, ...]] = ()
    module_alignment = 4

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Command line, structure, and the tables of the processor. Raises ProviderError."""
        put_line(request.command_line, memory, arena)
        if request.entry == "pvh":
            put(memory, arena, GDT, processor.PVH_GDT, "the GDT")
            return self._start_info(request, memory, arena)
        put(memory, arena, GDT, processor.LONG_GDT, "the GDT")
        for address, table in processor.page_tables().items():
            put(memory, arena, address, table, "page tables")
        return self._boot_params(request, memory, arena)

    def _boot_params(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        params = BootParams()
        if request.entry == "elf64":
            params.hdr = SetupHeader(kernel_alignment=ALIGNMENT)
        else:
            params.hdr = SetupHeader.parse(request.image[HEADER_START:].ljust(SetupHeader.SIZE, b"\0"))
        header = params.hdr
        header.type_of_loader, header.boot_flag, header.header = UNKNOWN_LOADER, BOOT_FLAG, HDRS_MAGIC
        header.cmd_line_ptr, header.cmdline_size = COMMAND_LINE, len(request.command_line) + 1
        for module in _one(request.modules):
            header.ramdisk_image, header.ramdisk_size = module.start, module.size
        params.acpi_rsdp_addr = request.facts.rsdp or 0
        params.set_e820(self.memory_map(request))
        put(memory, arena, ZERO_PAGE, params.build(), "the zero page")
        return Handover(ZERO_PAGE, HDRS_MAGIC)

    def _start_info(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        modules = _one(request.modules)
        rows = self.memory_map(request)
        table = b"".join(HvmMemmapTableEntry(addr=addr, size=size, type=kind).build() for addr, size, kind in rows)
        put(memory, arena, MEMORY_MAP, table, "the memory map")
        for module in modules:
            put(memory, arena, MODULE_LIST, HvmModlistEntry(paddr=module.start, size=module.size).build(), "the module list")
        info = HvmStartInfo(
            magic=XEN_HVM_START_MAGIC_VALUE,
            version=1,
            nr_modules=len(modules),
            modlist_paddr=MODULE_LIST if modules else 0,
            cmdline_paddr=COMMAND_LINE,
            rsdp_paddr=self.start_info_rsdp(request),
            memmap_paddr=MEMORY_MAP,
            memmap_entries=len(rows),
        )
        put(memory, arena, START_INFO, info.build(), "hvm_start_info")
        return Handover(START_INFO, XEN_HVM_START_MAGIC_VALUE)

    def memory_map(self, request: BootRequest) -> list[Row]:
        """What is told of memory."""
        return memory_map(request.facts)

    def start_info_rsdp(self, request: BootRequest) -> int:
        """Firecracker leaves the field empty: guests search the BIOS area."""
        del request
        return 0

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse whichever structure it is. Raises ProviderError."""
        if handover.magic == XEN_HVM_START_MAGIC_VALUE:
            return _read_start_info(memory, handover.address or 0)
        return _read_boot_params(memory, handover.address or 0)

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """All that lies in memory."""
        line = Structure("command line", COMMAND_LINE, len(text_at(memory, COMMAND_LINE)) + 1)
        gdt = Structure("GDT", GDT, 0x20)
        if handover.magic != XEN_HVM_START_MAGIC_VALUE:
            tables = Structure("page tables", PML4, PDE + 0x1000 - PML4)
            return (Structure("boot_params", ZERO_PAGE, BootParams.SIZE, BootParams), line, gdt, tables)
        info = HvmStartInfo.parse(memory.read(START_INFO, HvmStartInfo.SIZE))
        size = HvmMemmapTableEntry.SIZE
        rows = (
            Structure(f"hvm_memmap_table_entry[{number}]", MEMORY_MAP + number * size, size, HvmMemmapTableEntry)
            for number in range(min(info.memmap_entries, MOST))
        )
        modules = (Structure("hvm_modlist_entry", MODULE_LIST, HvmModlistEntry.SIZE, HvmModlistEntry),)[
            : min(info.nr_modules, 1)
        ]
        return (Structure("hvm_start_info", START_INFO, HvmStartInfo.SIZE, HvmStartInfo), line, gdt, *modules, *rows)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """As Firecracker starts its first processor."""
        return processor.protected_mode(loaded.entry_point) if entry == "pvh" else processor.long_mode(loaded.entry_point)


def put_line(line: bytes, memory: GuestMemory, arena: Arena) -> None:
    """To its place. Raises ProviderError for what Firecracker refuses."""
    if len(line) >= COMMAND_LINE_SIZE or not all(0x20 <= byte < 0x7F for byte in line):
        raise ProviderError(f"Firecracker takes up to {COMMAND_LINE_SIZE - 1} printable ASCII characters of command line")
    put(memory, arena, COMMAND_LINE, line + b"\0", "the command line")


def _one(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """The one range that holds all ramdisks, where there are any."""
    if not modules:
        return ()
    start, end = modules[0].start, modules[-1].start + modules[-1].size
    return (Module(start, end - start),)


NOTES = (
    Provenance("smbios", "there is no field for it"),
    Provenance("modules", "there is one ramdisk: several lie in it one behind the other"),
)


def _range(start: int, size: int, kind: int) -> MemoryRange:
    """An undefined type is memory that must not be used."""
    known = {one.value for one in MemoryKind}
    return MemoryRange(start, size, MemoryKind(kind) if kind in known else MemoryKind.RESERVED)


def _read_boot_params(memory: GuestMemory, address: int) -> BootInformation:
    params = BootParams.parse(memory.read(address, BootParams.SIZE))
    if params.hdr.header != HDRS_MAGIC:
        raise ProviderError(f"there is no boot_params at {address:#x}")
    start, size = params.ramdisk()
    return BootInformation(
        memory_map=tuple(_range(one.addr, one.size, one.type) for one in params.e820()),
        command_line=text_at(memory, params.cmd_line()),
        modules=(Module(start, size),) if size else (),
        rsdp=params.acpi_rsdp_addr or None,
        provenance=NOTES,
    )


def _read_start_info(memory: GuestMemory, address: int) -> BootInformation:
    info = HvmStartInfo.parse(memory.read(address, HvmStartInfo.SIZE))
    if info.magic != XEN_HVM_START_MAGIC_VALUE or max(info.nr_modules, info.memmap_entries) > MOST:
        raise ProviderError(f"there is no hvm_start_info of Firecracker's at {address:#x}")
    modules = HvmModlistEntry.rows(memory.read(info.modlist_paddr, info.nr_modules * HvmModlistEntry.SIZE))
    rows = HvmMemmapTableEntry.rows(memory.read(info.memmap_paddr, info.memmap_entries * HvmMemmapTableEntry.SIZE))
    return BootInformation(
        memory_map=tuple(_range(one.addr, one.size, one.type) for one in rows),
        command_line=text_at(memory, info.cmdline_paddr),
        modules=tuple(Module(one.paddr, one.size) for one in modules),
        rsdp=info.rsdp_paddr or None,
        provenance=(*NOTES, Provenance("rsdp", "rsdp_paddr may be 0: guests search the BIOS area")),
    )
