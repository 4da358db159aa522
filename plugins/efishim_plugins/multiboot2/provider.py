"""The Multiboot2 information, tag by tag, as filled in by a boot loader on BIOS or EFI.

Source: Multiboot2 Specification 2.0, sections 3.1 (header), 3.2 to 3.5 (machine state) and 3.6 (boot information).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError, UsageError
from efishim.image.multiboot import find_multiboot2
from efishim.provider import (
    BootInformation,
    CpuMode,
    CpuState,
    Entry,
    Handover,
    MachineFirmware,
    OptionHelp,
    Provenance,
    Specification,
    Structure,
)
from efishim.wire.multiboot import MULTIBOOT2_BOOTLOADER_MAGIC, Multiboot2Info
from efishim_plugins.multiboot2 import elf_sections, header, reader, structures, tags
from efishim_plugins.multiboot_common import shared

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, GuestMemory, Loaded

PC, EFI = "pc", "efi"
NATIVE = "multiboot2"


class Multiboot2:
    """The boot loader's side of Multiboot2."""

    name = "multiboot2"
    summary = "Multiboot2: a boot loader on a BIOS or on EFI honours the kernel's header and describes the machine in tags"
    structure = "Multiboot2 information"
    specifications = (
        Specification("Multiboot2 Specification 2.0", "https://www.gnu.org/software/grub/manual/multiboot2/multiboot.html"),
    )
    limits = (
        "With multiboot2.platform=efi, boot services are left running only for kernels with an EFI_BS tag and an EFI amd64"
        " entry address, which is then used. The handle has no load options.",
        "With multiboot2.platform=efi, only the native entry applies: EFI firmware needs no shim.",
        "ELF section headers are passed to a kernel whose header asks for them; GRUB passes them to every ELF file.",
        "VBE, APM, boot device and network tags are never there, since the machine has none of these.",
        "The SMBIOS tag carries the structures without their entry point, so the shim looks for that in the BIOS area.",
        "The command line is passed as it was given, without the image's name; Xen drops its first word unless"
        " multiboot2.loader_name begins with GRUB 2.",
        "Modules lie below 4 GiB and start on page boundaries, whether the header asks for that or not.",
        "Every ramdisk is a module of its own: what a kernel makes of the second is its affair; the shim serves all as one.",
    )
    entries = (
        Entry("efi", "the EFI stub, on a shim built from the Multiboot2 information", through_shim=True),
        Entry(NATIVE, "the header's or the ELF file's entry point, in 32-bit protected mode", through_shim=False),
    )
    options = (
        OptionHelp("platform", "pc or efi: the firmware that the boot loader runs on", PC),
        OptionHelp("loader_name", "text of the boot loader name tag", shared.LOADER_NAME),
    )

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """As the option `platform` says. Raises UsageError for another value, and for a shim where firmware is."""
        platform = options.get("platform", PC)
        if platform not in {PC, EFI}:
            raise UsageError(f"multiboot2.platform takes {PC} or {EFI}, not {platform!r}")
        if platform == EFI and entry != NATIVE:
            raise UsageError(
                f"multiboot2.platform=efi has no use for the entry {entry}: the machine's own firmware is EFI",
                hint=f"take -e {NATIVE}, or the provider firmware",
            )
        return MachineFirmware.EFI if platform == EFI else MachineFirmware.BIOS

    def refuses(self, entry: str, image: bytes, options: Mapping[str, str]) -> str:
        """What the header insists on and cannot be had; efishim has no display at this entry."""
        return header.refusal(find_multiboot2(image), screen=False) if entry == NATIVE else ""

    def keeps_boot_services(self, request: BootRequest) -> bool:
        """As the kernel's header asks, where the entry is the header's."""
        return request.entry == NATIVE and header.wants_boot_services(find_multiboot2(request.image))

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write the tags. Raises RouteError for a header that asks for what is not there, UsageError, ProviderError."""
        found = find_multiboot2(request.image) if request.entry == NATIVE else None
        asked = header.read(found, screen=request.facts.framebuffer is not None)
        name = shared.loader_name(self.name, request.options)
        parts = tags.collect(request, memory, name, relocatable=asked.relocatable)
        if asked.elf_sections:
            parts += elf_sections.tag(request.image, memory, arena)
        data = tags.pack(parts)
        address = arena.place(len(data), align=8, above=shared.LOW, below=shared.TOP, what="the Multiboot2 information")
        memory.write(address, data)
        alive = request.facts.efi is not None and request.facts.efi.image_handle is not None
        return Handover(address, MULTIBOOT2_BOOTLOADER_MAGIC, notes=asked.notes, boot_services=alive)

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse the tags. Raises ProviderError for a wrong magic and for tags that do not fit together."""
        if handover.address is None or handover.magic != MULTIBOOT2_BOOTLOADER_MAGIC:
            raise ProviderError("there is no Multiboot2 information to read")
        size = Multiboot2Info.parse(memory.read(handover.address, Multiboot2Info.SIZE)).total_size
        if not Multiboot2Info.SIZE <= size <= reader.LARGEST:
            raise ProviderError(f"the Multiboot2 information announces {size} bytes")
        found = reader.Found()
        for at, kind, data in reader.split(memory.read(handover.address, size)):
            reader.take(found, kind, data, handover.address + at)
        return _information(found)

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """The information's head, its tags and the rows of its memory map."""
        return () if handover.address is None else structures.of(memory, handover.address)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """Section 3.3 and, with boot services, 3.5: EAX is the magic, EBX the information. Raises ProviderError for an entry
        behind the shim.
        """
        if entry != NATIVE:
            raise ProviderError(f"the provider multiboot2 has no native entry {entry!r}")
        if handover.boot_services:
            if loaded.efi_entry is None:
                raise ProviderError("the image has no entry point for EFI with boot services")
            registers = {"rax": MULTIBOOT2_BOOTLOADER_MAGIC, "rbx": handover.address or 0}
            return CpuState(CpuMode.LONG, loaded.efi_entry, registers, {})
        return shared.machine_state(MULTIBOOT2_BOOTLOADER_MAGIC, loaded.entry_point, handover.address or 0)


def _information(found: reader.Found) -> BootInformation:
    why = []
    ranges = found.ranges
    if not ranges and found.amounts is not None:
        ranges = shared.ranges_of_amounts(*found.amounts)
        why.append(Provenance("memory_map", "the basic memory information tag, there is no memory map tag"))
    elif not ranges:
        why.append(Provenance("memory_map", "there is no memory map tag"))
    if found.rsdp is None:
        why.append(Provenance("rsdp", "there is no ACPI tag"))
    else:
        why.append(Provenance("rsdp", f"the copy in the ACPI {'new' if found.rsdp_is_new else 'old'} RSDP tag"))
    if found.smbios:
        why.append(Provenance("smbios", "the SMBIOS tag has the structures and no entry point"))
    else:
        why.append(Provenance("smbios", "there is no SMBIOS tag"))
    if found.framebuffer is None:
        why.append(Provenance("framebuffer", "there is no framebuffer tag of direct colours"))
    if found.command_line is None:
        why.append(Provenance("command_line", "there is no command line tag"))
    return BootInformation(
        memory_map=ranges,
        command_line=found.command_line or b"",
        modules=tuple(found.modules),
        rsdp=found.rsdp,
        framebuffer=found.framebuffer,
        provenance=tuple(why),
    )
