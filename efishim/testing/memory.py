"""Guest memory backed by plain bytes."""

from __future__ import annotations

from efishim.provider import PAGE, MachineFacts, MemoryKind, MemoryRange

MIB = 1 << 20
CONVENTIONAL = 0x9F000
"""RAM below the first hole of a PC, bytes."""

RSDP, SMBIOS = 0xE0000, 0xF0000


class Ram:
    """Guest-physical memory from 0, `size` bytes of zeroes; what lies outside raises IndexError."""

    def __init__(self, size: int = 64 * MIB) -> None:
        self._pages: dict[int, bytearray] = {}
        self.size = size

    def read(self, address: int, size: int) -> bytes:
        """Bytes at an address."""
        self._check(address, size)
        out = bytearray()
        while len(out) < size:
            page, offset = divmod(address + len(out), PAGE)
            step = min(size - len(out), PAGE - offset)
            held = self._pages.get(page)
            out += bytes(step) if held is None else held[offset : offset + step]
        return bytes(out)

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes."""
        self._check(address, len(data))
        done = 0
        while done < len(data):
            page, offset = divmod(address + done, PAGE)
            step = min(len(data) - done, PAGE - offset)
            self._pages.setdefault(page, bytearray(PAGE))[offset : offset + step] = data[done : done + step]
            done += step

    def written(self) -> list[int]:
        """Addresses of all bytes that are not zero, ascending."""
        return [page * PAGE + offset for page, held in sorted(self._pages.items()) for offset, byte in enumerate(held) if byte]

    def contents(self) -> dict[int, bytes]:
        """Every page that was written to, by its address."""
        return {page * PAGE: bytes(held) for page, held in sorted(self._pages.items())}

    def _check(self, address: int, size: int) -> None:
        if address < 0 or size < 0 or address + size > self.size:
            raise IndexError(f"there is no memory at {address:#x}+{size:#x}")


def facts(size: int = 64 * MIB) -> MachineFacts:
    """A small PC: conventional memory, a hole, the rest from 1 MiB on, with ACPI and SMBIOS anchors in the hole."""
    return MachineFacts(
        memory_map=(
            MemoryRange(0, CONVENTIONAL, MemoryKind.RAM),
            MemoryRange(CONVENTIONAL, MIB - CONVENTIONAL, MemoryKind.RESERVED),
            MemoryRange(MIB, size - MIB - PAGE, MemoryKind.RAM),
            MemoryRange(size - PAGE, PAGE, MemoryKind.ACPI_RECLAIMABLE),
        ),
        rsdp=RSDP,
        smbios=SMBIOS,
    )
