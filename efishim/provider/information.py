"""Neutral boot information: the properties of a machine, and what a native structure says about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from efishim.memory_range import MemoryRange


@dataclass(frozen=True, slots=True)
class Module:
    """Something that was loaded beside the kernel and lies in guest memory; the first is the initial ramdisk."""

    start: int
    size: int
    command_line: bytes = b""


@dataclass(frozen=True, slots=True)
class Framebuffer:
    """A linear framebuffer. Positions and sizes of the colours are in bits, `pitch` in bytes."""

    address: int
    width: int
    height: int
    pitch: int
    bits_per_pixel: int
    red: tuple[int, int]
    green: tuple[int, int]
    blue: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a piece of boot information came from, or why it is missing; it goes into the record's notes."""

    field: str
    """Name of a field of BootInformation."""
    source: str
    """One clause: `hvm_start_info.memmap_paddr`, `BIOS area scan`, `multiboot 1 has no field for it`."""


@dataclass(frozen=True, slots=True)
class BootInformation:
    """The neutral record that every native structure converts into, and that the shim is built from.

    None and empty tuples mean that the structure does not say.
    """

    memory_map: tuple[MemoryRange, ...]
    command_line: bytes = b""
    modules: tuple[Module, ...] = ()
    rsdp: int | None = None
    """Physical address of ACPI's root pointer."""
    smbios: int | None = None
    """Physical address of the SMBIOS entry point."""
    framebuffer: Framebuffer | None = None
    provenance: tuple[Provenance, ...] = ()


class MachineFirmware(StrEnum):
    """What was there before the provider: on what its boot loader would run."""

    NONE = "none"
    """A hypervisor or a virtual machine monitor that starts the kernel itself."""
    BIOS = "bios"
    """Interrupt services, the BIOS data area, tables in the BIOS area."""
    EFI = "efi"
    """UEFI. The shim is then the machine's own firmware, and is built from what the machine is."""
    EFI_RUNTIME = "efi-runtime"
    """What a first kernel leaves of it for the next one: runtime services at the virtual addresses that Linux gave them."""


@dataclass(frozen=True, slots=True)
class EfiFacts:
    """EFI firmware after ExitBootServices, as a boot loader (or a kernel before kexec) hands it to a kernel; or before, when
    boot services are left to the kernel. Then there is an `image_handle`, and no memory map that would stay true.

    All addresses are physical, also after SetVirtualAddressMap. `fw_vendor`, `runtime`, `tables` and `smbios` are what a
    SETUP_EFI node passes on (arch/x86/include/asm/efi.h, struct efi_setup_data).
    """

    system_table: int
    memory_map: bytes
    """EFI_MEMORY_DESCRIPTORs, `descriptor_size` bytes each."""
    descriptor_size: int
    descriptor_version: int
    fw_vendor: int = 0
    runtime: int = 0
    tables: int = 0
    smbios: int = 0
    image_handle: int | None = None
    """What ExitBootServices has to be called with; None when that is done."""
    interrupts: tuple[int, int] = (0, 0)
    """Address and limit of the firmware's interrupt descriptor table, which is loaded unless the provider loads another one."""
    page_tables: int = 0
    """What CR3 has."""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What the platform is, as the one who built it knows it. Providers tell the guest as much of it as they can."""

    memory_map: tuple[MemoryRange, ...]
    rsdp: int | None = None
    smbios: int | None = None
    framebuffer: Framebuffer | None = None
    efi: EfiFacts | None = None
    """Only for native entries of providers that run on EFI."""
    held: tuple[MemoryRange, ...] = ()
    """RAM that the machine's own EFI firmware keeps until boot services end, ascending; the last is where it lies itself."""
