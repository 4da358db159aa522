"""hvm_start_info, the boot information that a hypervisor or VMM passes to a PVH guest.

Source: xen/include/public/arch-x86/hvm/start_info.h and docs/misc/pvh.pandoc of the Xen sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError, UsageError
from efishim.provider import (
    BootInformation,
    CpuMode,
    CpuState,
    Entry,
    Handover,
    MachineFirmware,
    MemoryKind,
    MemoryRange,
    Module,
    OptionHelp,
    Provenance,
    Segment,
    Specification,
    Structure,
    text_at,
)
from efishim.wire.start_info import (
    XEN_HVM_START_MAGIC_VALUE,
    HvmMemmapTableEntry,
    HvmModlistEntry,
    HvmStartInfo,
    HvmStartInfoV0,
)

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, GuestMemory, Loaded
    from efishim.wire.layout import Layout

LOW = 0xA_0000
"""Everything fits into conventional memory, where QEMU and Xen's tools put it too."""
MAX_ENTRIES = 1024
MAX_MODULES = 1024

CODE = Segment(0x08, 0, 0xFFFF_FFFF, 0xC09B)
DATA = Segment(0x10, 0, 0xFFFF_FFFF, 0xC093)
TASK = Segment(0, 0, 0x67, 0x008B)
"""A 32-bit task state segment that is busy, with its limit of 0x67 (pvh.pandoc)."""


class Hvmlite:
    """Xen's PVH boot protocol, named as it was in the thread."""

    name = "hvmlite"
    aliases = ("pvh", "xen")
    summary = "Xen's HVMLite, now PVH: a hypervisor boots the kernel with hvm_start_info"
    structure = "hvm_start_info"
    specifications = (
        Specification(
            "x86/HVM direct boot ABI (start_info.h)",
            "https://xenbits.xen.org/docs/unstable/hypercall/x86_64/include,public,arch-x86,hvm,start_info.h.html",
        ),
        Specification("PVH specification", "https://xenbits.xen.org/docs/unstable/misc/pvh.html"),
    )
    limits = (
        "There are no fields for SMBIOS, a framebuffer, EFI or random seeds; a guest has to search the BIOS area for SMBIOS.",
        "Version 0 has no memory map: the guest queries the hypervisor (XENMEM_memory_map); on other machines, Linux stops.",
        "Linux uses the first module as its initial ramdisk and ignores the others; the shim concatenates them.",
        "The command line ends at its first NUL byte.",
        "The flags are always 0: the guest is not the initial domain.",
    )
    entries = (
        Entry("efi", "the EFI stub, on a shim built from hvm_start_info", through_shim=True),
        Entry("pvh", "XEN_ELFNOTE_PHYS32_ENTRY of the kernel's ELF file, in 32-bit protected mode", through_shim=False),
    )
    options = (OptionHelp("version", "0 or 1: version of hvm_start_info; 0 has no memory map", "1"),)

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """Nothing runs before the guest."""
        return MachineFirmware.NONE

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write hvm_start_info, module list, command line and (version 1) memory map. Raises UsageError, ProviderError."""
        version = request.options.get("version", "1")
        if version not in {"0", "1"}:
            raise UsageError(f"hvmlite.version takes 0 or 1, not {version!r}")

        def put(data: bytes, what: str) -> int:
            at = arena.place(len(data), align=8, below=LOW, what=what)
            memory.write(at, data)
            return at

        layout = HvmStartInfo if version == "1" else HvmStartInfoV0
        values = {"magic": XEN_HVM_START_MAGIC_VALUE, "version": int(version), "rsdp_paddr": request.facts.rsdp or 0}
        if request.command_line:
            values["cmdline_paddr"] = put(request.command_line + b"\0", "the command line")
        modules = b""
        for module in request.modules:
            text = put(module.command_line + b"\0", "a module's command line") if module.command_line else 0
            modules += HvmModlistEntry(paddr=module.start, size=module.size, cmdline_paddr=text).build()
        if modules:
            values |= {"nr_modules": len(request.modules), "modlist_paddr": put(modules, "the module list")}
        if version == "1":
            ranges = request.facts.memory_map
            table = b"".join(HvmMemmapTableEntry(addr=r.start, size=r.size, type=r.kind.value).build() for r in ranges)
            values |= {"memmap_entries": len(ranges), "memmap_paddr": put(table, "the memory map")}
        address = put(layout(**values).build(), "hvm_start_info")
        return Handover(address, XEN_HVM_START_MAGIC_VALUE, notes=_ramdisks(request))

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse hvm_start_info. Raises ProviderError for a wrong magic, an unknown version or absurd counts."""
        if handover.address is None:
            raise ProviderError("there is no hvm_start_info to read")
        info = HvmStartInfoV0.parse(memory.read(handover.address, HvmStartInfoV0.SIZE))
        if info.magic != XEN_HVM_START_MAGIC_VALUE:
            raise ProviderError(f"hvm_start_info has the magic {info.magic:#x}, it should be {XEN_HVM_START_MAGIC_VALUE:#x}")
        missing = [
            Provenance("smbios", "hvm_start_info has no field for it"),
            Provenance("framebuffer", "hvm_start_info has no field for it"),
        ]
        ranges: tuple[MemoryRange, ...] = ()
        if info.version >= 1:
            # Later versions only add fields (start_info.h), so they can be read as version 1.
            ranges = _memory_map(memory, HvmStartInfo.parse(memory.read(handover.address, HvmStartInfo.SIZE)))
        else:
            missing.append(Provenance("memory_map", "hvm_start_info version 0 has no field for it"))
        if not info.rsdp_paddr:
            missing.append(Provenance("rsdp", "rsdp_paddr is 0"))
        return BootInformation(
            memory_map=ranges,
            command_line=text_at(memory, info.cmdline_paddr),
            modules=_modules(memory, info),
            rsdp=info.rsdp_paddr or None,
            provenance=tuple(missing),
        )

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """hvm_start_info and all that it points to."""
        if handover.address is None:
            return ()
        info = HvmStartInfoV0.parse(memory.read(handover.address, HvmStartInfoV0.SIZE))
        layout = HvmStartInfo if info.version >= 1 else HvmStartInfoV0
        found = [Structure("hvm_start_info", handover.address, layout.SIZE, layout)]
        if info.cmdline_paddr:
            found.append(Structure("command line", info.cmdline_paddr, len(text_at(memory, info.cmdline_paddr)) + 1))
        found += _rows("hvm_modlist_entry", info.modlist_paddr, min(info.nr_modules, MAX_MODULES), HvmModlistEntry)
        if info.version >= 1:
            full = HvmStartInfo.parse(memory.read(handover.address, HvmStartInfo.SIZE))
            count = min(full.memmap_entries, MAX_ENTRIES)
            found += _rows("hvm_memmap_table_entry", full.memmap_paddr, count, HvmMemmapTableEntry)
        return tuple(found)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """32-bit protected mode without paging, EBX pointing to hvm_start_info (pvh.pandoc). Raises ProviderError."""
        if entry != "pvh":
            raise ProviderError(f"the provider hvmlite has no native entry {entry!r}")
        data = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA)
        return CpuState(
            CpuMode.PROTECTED,
            loaded.entry_point,
            {"rbx": handover.address or 0, "eflags": 2},
            {"cs": CODE, **data, "tr": TASK},
        )


def _ramdisks(request: BootRequest) -> tuple[str, ...]:
    if len(request.modules) < 2 or request.entry != "pvh":
        return ()
    return (f"hvm_start_info lists {len(request.modules)} modules; Linux takes the first one as its ramdisk",)


def _rows(name: str, address: int, count: int, layout: type[Layout]) -> list[Structure]:
    return [Structure(f"{name}[{i}]", address + i * layout.SIZE, layout.SIZE, layout) for i in range(count)]


def _modules(memory: GuestMemory, info: HvmStartInfoV0) -> tuple[Module, ...]:
    if info.nr_modules > MAX_MODULES:
        raise ProviderError(f"hvm_start_info announces {info.nr_modules} modules")
    entries = [
        HvmModlistEntry.parse(memory.read(info.modlist_paddr + i * HvmModlistEntry.SIZE, HvmModlistEntry.SIZE))
        for i in range(info.nr_modules)
    ]
    return tuple(Module(one.paddr, one.size, text_at(memory, one.cmdline_paddr)) for one in entries)


def _memory_map(memory: GuestMemory, info: HvmStartInfo) -> tuple[MemoryRange, ...]:
    """The table; an undefined type is memory that must not be used."""
    if info.memmap_entries > MAX_ENTRIES:
        raise ProviderError(f"hvm_start_info announces {info.memmap_entries} ranges of memory")
    known = {kind.value for kind in MemoryKind}
    ranges = []
    for i in range(info.memmap_entries):
        entry = HvmMemmapTableEntry.parse(
            memory.read(info.memmap_paddr + i * HvmMemmapTableEntry.SIZE, HvmMemmapTableEntry.SIZE)
        )
        kind = MemoryKind(entry.type) if entry.type in known else MemoryKind.RESERVED
        ranges.append(MemoryRange(entry.addr, entry.size, kind))
    return tuple(ranges)
