"""The Multiboot information structure, as filled in by a boot loader on a BIOS.

Source: Multiboot Specification 0.6.96, sections 3.1 (header), 3.2 (machine state) and 3.3 (boot information).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.image.multiboot import find_multiboot
from efishim.provider import (
    BootInformation,
    CpuState,
    Entry,
    Framebuffer,
    Handover,
    MachineFirmware,
    MemoryRange,
    Module,
    OptionHelp,
    Provenance,
    Specification,
    Structure,
    text_at,
)
from efishim.wire.multiboot import (
    MULTIBOOT_BOOTLOADER_MAGIC,
    MULTIBOOT_INFO_FLAGS,
    MultibootInfo,
    MultibootMmapEntry,
    MultibootModule,
)
from efishim_plugins.multiboot import structures
from efishim_plugins.multiboot_common import shared

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, GuestMemory, Loaded

FLAG = {name: bit for bit, name in MULTIBOOT_INFO_FLAGS.items()}
SIZE_FIELD = 4
"""`size` of a memory map entry does not count itself."""
SMALLEST_ENTRY = MultibootMmapEntry.SIZE - SIZE_FIELD
MAX_MMAP = shared.MAX_RANGES * MultibootMmapEntry.SIZE
FOUR_GIB = 1 << 32


class Multiboot:
    """The boot loader's side of Multiboot 1."""

    name = "multiboot"
    summary = "Multiboot 1: a boot loader on a BIOS loads an ELF file or flat image and passes one structure"
    structure = "Multiboot information"
    specifications = (
        Specification("Multiboot Specification 0.6.96", "https://www.gnu.org/software/grub/manual/multiboot/multiboot.html"),
    )
    limits = (
        "There are no fields for ACPI or SMBIOS: kernel and shim search the BIOS area for them.",
        "Modules are placed below 4 GiB on page boundaries, whether the header requests that or not.",
        "Every ramdisk is a separate module; the shim concatenates them.",
        "The command line is passed as it was given: GRUB Legacy and QEMU put the image's name in front of it, GRUB 2 does not,"
        " and Xen drops the first word unless multiboot.loader_name begins with GRUB 2.",
        "A header that asks for a video mode is loaded all the same; without a display the framebuffer fields are not there.",
        "There is no boot device, drive list, symbol table, ROM configuration table, APM table or VBE: the flags say so.",
    )
    entries = (
        Entry("efi", "the EFI stub, on a shim built from the Multiboot information", through_shim=True),
        Entry("multiboot", "the header's or the ELF file's entry point, in 32-bit protected mode", through_shim=False),
    )
    options = (OptionHelp("loader_name", "text of boot_loader_name", shared.LOADER_NAME),)

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """Multiboot 1 knows the PC with its BIOS."""
        return MachineFirmware.BIOS

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write the information and what it points to. Raises UsageError, ProviderError."""

        def put(data: bytes, what: str) -> int:
            at = arena.place(len(data), align=8, above=shared.LOW, below=shared.TOP, what=what)
            memory.write(at, data)
            return at

        lower, upper = shared.amounts(request.facts.memory_map)
        table = _mmap(request.facts.memory_map)
        info = MultibootInfo(
            flags=FLAG["MEMORY"] | FLAG["CMDLINE"] | FLAG["MODS"] | FLAG["MEM_MAP"] | FLAG["BOOT_LOADER_NAME"],
            mem_lower=lower,
            mem_upper=upper,
            cmdline=put(request.command_line + b"\0", "the command line"),
            mods_count=len(request.modules),
            mmap_length=len(table),
            mmap_addr=put(table, "the memory map"),
            boot_loader_name=put(shared.loader_name(self.name, request.options) + b"\0", "the boot loader's name"),
        )
        if request.modules:
            modules = b""
            for module in request.modules:
                if module.start + module.size > FOUR_GIB - 1:
                    raise ProviderError(f"a module at {module.start:#x} cannot be told of: the fields have 32 bits")
                text = put(module.command_line + b"\0", "a module's string")
                end = module.start + module.size
                modules += MultibootModule(mod_start=module.start, mod_end=end, string=text).build()
            info.mods_addr = put(modules, "the module list")
        if request.facts.framebuffer is not None:
            _show(info, request.facts.framebuffer)
        return Handover(put(info.build(), "the Multiboot information"), MULTIBOOT_BOOTLOADER_MAGIC, notes=_notes(request))

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse the information. Raises ProviderError for a wrong magic, absurd counts, ranges and modules without end."""
        if handover.address is None or handover.magic != MULTIBOOT_BOOTLOADER_MAGIC:
            raise ProviderError("there is no Multiboot information to read")
        info = MultibootInfo.parse(memory.read(handover.address, MultibootInfo.SIZE))
        why = [Provenance(field, "Multiboot 1 has no field for it") for field in ("rsdp", "smbios")]
        ranges: tuple[MemoryRange, ...] = ()
        if info.flags & FLAG["MEM_MAP"]:
            ranges = _ranges(memory, info)
        elif info.flags & FLAG["MEMORY"]:
            ranges = shared.ranges_of_amounts(info.mem_lower, info.mem_upper)
            why.append(Provenance("memory_map", "mem_lower and mem_upper; flags bit 6 is not set"))
        else:
            why.append(Provenance("memory_map", "flags bits 0 and 6 are not set"))
        screen = _screen(info)
        if screen is None:
            why.append(Provenance("framebuffer", "flags bit 12 is not set, or it is no direct colour framebuffer"))
        has_text, has_modules = info.flags & FLAG["CMDLINE"], info.flags & FLAG["MODS"]
        for field, there, bit in (("command_line", has_text, 2), ("modules", has_modules, 3)):
            if not there:
                why.append(Provenance(field, f"flags bit {bit} is not set"))
        return BootInformation(
            memory_map=ranges,
            command_line=text_at(memory, info.cmdline) if has_text else b"",
            modules=_modules(memory, info) if has_modules else (),
            framebuffer=screen,
            provenance=tuple(why),
        )

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """multiboot_info and all that it points to."""
        return () if handover.address is None else structures.of(memory, handover.address)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """Section 3.2: EAX is the magic, EBX the information. Raises ProviderError for an entry behind the shim."""
        if entry != "multiboot":
            raise ProviderError(f"the provider multiboot has no native entry {entry!r}")
        return shared.machine_state(MULTIBOOT_BOOTLOADER_MAGIC, loaded.entry_point, handover.address or 0)


def _notes(request: BootRequest) -> tuple[str, ...]:
    header = find_multiboot(request.image) if request.entry == "multiboot" else None
    if header is None or header.video is None or request.facts.framebuffer is not None:
        return ()
    return ("the Multiboot header asks for a video mode, and this machine has no display: flags bits 11 and 12 are not set",)


def _mmap(ranges: tuple[MemoryRange, ...]) -> bytes:
    return b"".join(
        MultibootMmapEntry(size=SMALLEST_ENTRY, base_addr=one.start, length=one.size, type=shared.type_of(one.kind)).build()
        for one in ranges
    )


def _show(info: MultibootInfo, screen: Framebuffer) -> None:
    info.flags |= FLAG["FRAMEBUFFER_INFO"]
    info.framebuffer_addr, info.framebuffer_pitch = screen.address, screen.pitch
    info.framebuffer_width, info.framebuffer_height = screen.width, screen.height
    info.framebuffer_bpp, info.framebuffer_type = screen.bits_per_pixel, shared.FRAMEBUFFER_RGB
    info.color_info = shared.colours(screen)


def _screen(info: MultibootInfo) -> Framebuffer | None:
    if not info.flags & FLAG["FRAMEBUFFER_INFO"] or info.framebuffer_type != shared.FRAMEBUFFER_RGB:
        return None
    shape = (info.framebuffer_pitch, info.framebuffer_width, info.framebuffer_height, info.framebuffer_bpp)
    return shared.framebuffer_of((info.framebuffer_addr, *shape), info.color_info)


def _modules(memory: GuestMemory, info: MultibootInfo) -> tuple[Module, ...]:
    if info.mods_count > shared.MAX_MODULES:
        raise ProviderError(f"the Multiboot information announces {info.mods_count} modules")
    size = MultibootModule.SIZE
    modules = []
    for number in range(info.mods_count):
        row = MultibootModule.parse(memory.read(info.mods_addr + number * size, size))
        if row.mod_end < row.mod_start:
            raise ProviderError(f"module {number} ends at {row.mod_end:#x}, before it starts at {row.mod_start:#x}")
        modules.append(Module(row.mod_start, row.mod_end - row.mod_start, text_at(memory, row.string)))
    return tuple(modules)


def _ranges(memory: GuestMemory, info: MultibootInfo) -> tuple[MemoryRange, ...]:
    """The memory map: each entry says how long it is, and may be longer than what is known of it."""
    if info.mmap_length > MAX_MMAP:
        raise ProviderError(f"the Multiboot information announces {info.mmap_length} bytes of memory map")
    raw = memory.read(info.mmap_addr, info.mmap_length)
    ranges, at = [], 0
    while at + MultibootMmapEntry.SIZE <= len(raw):
        entry = MultibootMmapEntry.parse(raw[at : at + MultibootMmapEntry.SIZE])
        if entry.size < SMALLEST_ENTRY:
            raise ProviderError(f"an entry of the memory map has {entry.size} bytes, it needs {SMALLEST_ENTRY}")
        ranges.append(shared.range_of(entry.base_addr, entry.length, entry.type))
        at += entry.size + SIZE_FIELD
    return tuple(ranges)
