"""Memory types, memory sizes and the machine state, which are the same in Multiboot 0.6.96 and Multiboot2 2.0."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.errors import ProviderError, UsageError
from efishim.provider import CpuMode, CpuState, Framebuffer, MemoryKind, MemoryRange, Segment

LOW, TOP = 0x1_0000, 0xA_0000
"""The information lies in conventional memory, above what boot sectors and BIOSes use for themselves."""
ONE_MIB = 0x10_0000
MOST_LOWER = 640
"""No more is ever told as lower memory, KiB (section 3.3, mem_lower; Multiboot2 section 3.6.4)."""
MAX_RANGES = 1024
MAX_MODULES = 1024
MAX_LOADER_NAME = 64
LOADER_NAME = "efishim"
FRAMEBUFFER_RGB = 1

CODE = Segment(0x08, 0, 0xFFFF_FFFF, 0xC09B)
DATA = Segment(0x10, 0, 0xFFFF_FFFF, 0xC093)

_TYPES = {
    MemoryKind.RAM: 1,
    MemoryKind.RESERVED: 2,
    MemoryKind.ACPI_RECLAIMABLE: 3,
    MemoryKind.ACPI_NVS: 4,
    MemoryKind.UNUSABLE: 5,
}
_KINDS = {number: kind for kind, number in _TYPES.items()}


def type_of(kind: MemoryKind) -> int:
    """A range's type in a memory map; all that the specifications do not name is reserved."""
    return _TYPES.get(kind, _TYPES[MemoryKind.RESERVED])


def range_of(start: int, size: int, number: int) -> MemoryRange:
    """A range out of a memory map. Raises ProviderError when it leads beyond 64 bits."""
    if start + size > 1 << 64:
        raise ProviderError(f"the memory map has a range at {start:#x} of {size:#x} bytes, which has no end")
    return MemoryRange(start, size, _KINDS.get(number, MemoryKind.RESERVED))


def amounts(ranges: tuple[MemoryRange, ...]) -> tuple[int, int]:
    """(mem_lower, mem_upper) in KiB: RAM without a hole from 0 on, and from 1 MiB on."""
    lower = min(_without_hole(ranges, 0) >> 10, MOST_LOWER)
    upper = (_without_hole(ranges, ONE_MIB) - ONE_MIB) >> 10
    return lower, min(upper, 0xFFFF_FFFF)


def _without_hole(ranges: tuple[MemoryRange, ...], start: int) -> int:
    for one in sorted((one for one in ranges if one.kind is MemoryKind.RAM), key=lambda one: one.start):
        if one.start <= start < one.end:
            start = one.end
    return start


def ranges_of_amounts(lower: int, upper: int) -> tuple[MemoryRange, ...]:
    """The RAM that mem_lower and mem_upper tell of, for readers that have nothing better."""
    told = ((0, lower << 10), (ONE_MIB, upper << 10))
    return tuple(MemoryRange(start, size, MemoryKind.RAM) for start, size in told if size)


def loader_name(group: str, options: Mapping[str, str]) -> bytes:
    """The option `loader_name`. Raises UsageError for a text that cannot be one."""
    name = options.get("loader_name", LOADER_NAME)
    if not 0 < len(name) <= MAX_LOADER_NAME or not name.isascii() or not name.isprintable():
        raise UsageError(f"{group}.loader_name takes 1 to {MAX_LOADER_NAME} printable ASCII characters")
    return name.encode()


def colours(screen: Framebuffer) -> bytes:
    """color_info of a direct RGB framebuffer: position and size in bits of red, green and blue."""
    return bytes((*screen.red, *screen.green, *screen.blue))


def framebuffer_of(values: tuple[int, int, int, int, int], colour: bytes) -> Framebuffer:
    """From (address, pitch, width, height, bits per pixel) and color_info."""
    address, pitch, width, height, depth = values
    red, green, blue = ((colour[i], colour[i + 1]) for i in (0, 2, 4))
    return Framebuffer(address, width, height, pitch, depth, red, green, blue)


def machine_state(magic: int, entry_point: int, information: int) -> CpuState:
    """ "I386 machine state": 32-bit protected mode with flat segments, no paging, no interrupts; no valid GDT, stack or IDT.

    Both specifications leave the descriptor tables, ESP and all other registers undefined; here they are 0.
    """
    data = dict.fromkeys(("ds", "es", "fs", "gs", "ss"), DATA)
    registers = {"rax": magic, "rbx": information, "eflags": 2}
    return CpuState(CpuMode.PROTECTED, entry_point, registers, {"cs": CODE, **data})
