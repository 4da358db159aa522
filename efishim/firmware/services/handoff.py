"""Firmware after ExitBootServices: what a loader passes on, and the virtual addresses that Linux gives to runtime services.

A kernel that is entered after ExitBootServices (GRUB's 32-bit entry on EFI, kexec) finds no firmware that it could ask; its
loader puts these facts into boot_params.efi_info and, for kexec, into a SETUP_EFI node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from efishim.errors import ProviderError
from efishim.firmware.calling.dispatch import Steps
from efishim.firmware.memory.memory_map import Descriptor, MemoryType
from efishim.machine.memory import PAGE
from efishim.wire.uefi import EFI_MEMORY_RUNTIME, MemoryDescriptor

DESCRIPTOR_SIZE = 48
"""What GetMemoryMap reports: larger than the structure, as EDK II does, so that a caller that uses sizeof fails."""

EFI_VA_START = (1 << 64) - (4 << 30)
EFI_VA_END = (1 << 64) - (68 << 30)
"""Where Linux maps runtime services (arch/x86/include/asm/efi.h, Documentation/arch/x86/x86_64/mm.rst)."""

PMD_SIZE = 1 << 21

_BOOT_SERVICES = frozenset({MemoryType.BOOT_SERVICES_CODE, MemoryType.BOOT_SERVICES_DATA})


@dataclass(frozen=True, slots=True)
class EfiRuntime:
    """EFI after ExitBootServices, as a loader passes it on. All addresses are physical."""

    system_table: int
    memory_map: bytes
    """EFI_MEMORY_DESCRIPTORs, each in `descriptor_size` bytes, as GetMemoryMap gives them."""
    descriptor_size: int
    descriptor_version: int
    firmware_vendor: int
    runtime_services: int
    configuration_table: int
    smbios: int
    """The SMBIOS configuration table, version 3 if there is one; 0 for none."""


def pack_descriptors(descriptors: Iterable[Descriptor], bases: Mapping[int, int] | None = None) -> bytes:
    """Descriptors as GetMemoryMap reports them, with VirtualStart from `bases` (physical start to virtual)."""
    virtual = bases or {}
    return b"".join(
        MemoryDescriptor(
            Type=d.type,
            PhysicalStart=d.start,
            VirtualStart=virtual.get(d.start, 0),
            NumberOfPages=d.pages,
            Attribute=d.attributes,
        )
        .build()
        .ljust(DESCRIPTOR_SIZE, b"\0")
        for d in descriptors
    )


def linux_bases(descriptors: Iterable[Descriptor]) -> dict[int, int]:
    """Virtual address by physical start, for what a 64-bit Linux on 64-bit firmware maps: runtime and boot services ranges.

    From EFI_VA_START down, the last range of the map first, each at its own offset from a 2 MiB boundary
    (arch/x86/platform/efi/efi_64.c, efi_map_region; efi.c, efi_map_regions and should_map_region). Raises ProviderError when
    they do not fit.
    """
    bases: dict[int, int] = {}
    at = EFI_VA_START
    for d in sorted(descriptors, key=lambda d: -d.start):
        if not d.attributes & EFI_MEMORY_RUNTIME and d.type not in _BOOT_SERVICES:
            continue
        at -= d.pages * PAGE
        # The highest address not above `at` that is congruent to the physical one.
        at -= (at - d.start) % PMD_SIZE
        if at < EFI_VA_END:
            raise ProviderError("the runtime services do not fit the 64 GiB of addresses that Linux has for them")
        bases[d.start] = at
    return bases


def finish(steps: Steps) -> int:
    """Carry a service out from the host's side. Raises ProviderError when code of the guest would have to run for it."""
    try:
        next(steps)
    except StopIteration as stop:
        return int(stop.value)
    steps.close()
    raise ProviderError("a notify function of the guest stands in the way: it cannot be run from outside")
