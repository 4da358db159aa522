"""Discovers what the native structure leaves out, as firmware would, and records the source.

A shim in the place of a boot loader has the means that a boot loader has: the BIOS area, where ACPI and SMBIOS anchors
lie on machines with a BIOS (ACPI 6.5 section 5.2.5.1, SMBIOS 3.0 section 5.2), and on Xen the hypercall that gives the
memory map. What it cannot find, the kernel goes without, and the record says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from efishim.errors import ProviderError
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.provider import BootInformation, MemoryKind, MemoryRange, Provenance
from efishim.wire.acpi import RSDP_SIGNATURE, Rsdp1
from efishim.wire.smbios import ANCHOR3, EntryPoint3

BIOS_AREA = (0xE_0000, 0x10_0000)
EBDA_POINTER, EBDA_SEARCHED = 0x40E, 1024
PARAGRAPH = 16

MapEntry = tuple[int, int, int]
"""(start, size, e820 type)."""


@dataclass(frozen=True, slots=True)
class Means:
    """What there is to find things out with. `memory_map_hypercall` gives None on a machine without such a hypervisor."""

    memory: PhysicalMemory
    memory_map_hypercall: Callable[[], tuple[MapEntry, ...] | None] = lambda: None


def complete(told: BootInformation, means: Means) -> BootInformation:
    """The information with what could be found added. Raises ProviderError when there is no memory map to be had."""
    if not told.memory_map:
        told = replace(told, memory_map=_asked(means))
        told = _noted(told, "memory_map", "XENMEM_memory_map hypercall")
    if told.rsdp is None:
        found = find_rsdp(means.memory)
        told = _noted(replace(told, rsdp=found), "rsdp", _outcome(found))
    if told.smbios is None:
        found = find_smbios3(means.memory)
        told = _noted(replace(told, smbios=found), "smbios", _outcome(found))
    return told


def find_rsdp(memory: PhysicalMemory) -> int | None:
    """The RSDP in the first KiB of the EBDA or in the BIOS area, None without one."""
    places = [BIOS_AREA]
    try:
        ebda = memory.u16(EBDA_POINTER) << 4
    except BusError:
        ebda = 0
    if 0x400 <= ebda < 0xA_0000:
        places.insert(0, (ebda, ebda + EBDA_SEARCHED))
    return next((at for low, high in places for at in [_search(memory, low, high, RSDP_SIGNATURE, Rsdp1.SIZE)] if at), None)


def find_smbios3(memory: PhysicalMemory) -> int | None:
    """The 64-bit SMBIOS entry point in the upper half of the BIOS area, None without one."""
    return _search(memory, 0xF_0000, BIOS_AREA[1], ANCHOR3, EntryPoint3.SIZE)


def _search(memory: PhysicalMemory, low: int, high: int, signature: bytes, size: int) -> int | None:
    """A structure on a paragraph whose bytes add up to 0."""
    for at in range(low, high, PARAGRAPH):
        try:
            if memory.read(at, len(signature)) == signature and not sum(memory.read(at, size)) & 0xFF:
                return at
        except BusError:
            continue
    return None


def _asked(means: Means) -> tuple[MemoryRange, ...]:
    answer = means.memory_map_hypercall()
    if answer is None:
        raise ProviderError(
            "the native structure has no memory map, and there is no hypervisor that could be asked for it",
            hint="take a platform with such a hypervisor (`efishim platforms`)",
        )
    known = {kind.value for kind in MemoryKind}
    return tuple(
        MemoryRange(start, size, MemoryKind(kind) if kind in known else MemoryKind.RESERVED) for start, size, kind in answer
    )


def _outcome(found: int | None) -> str:
    return f"found at {found:#x} in the BIOS area" if found else "the structure does not say, and the BIOS area has none"


def _noted(told: BootInformation, field: str, source: str) -> BootInformation:
    others = tuple(one for one in told.provenance if one.field != field)
    return replace(told, provenance=(*others, Provenance(field, source)))
