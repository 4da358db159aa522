"""Names for addresses of a run: symbols of the kernel wherever it was put, and offsets into the image as firmware loaded it."""

from __future__ import annotations

from dataclasses import dataclass

from efishim.image.facts import KernelFacts
from efishim.image.symbols import Symbols
from efishim.lab.record import CodeRef, hexadecimal

KERNEL_HALF = 0xFFFF_FFFF_8000_0000
"""Lowest address of the kernel's own mapping (__START_KERNEL_map, Documentation/arch/x86/x86_64/mm.rst)."""


@dataclass
class Places:
    """What is known about where code lies; the parts become known while the guest runs.

    `physical_slide` and `virtual_slide` are what KASLR added to the addresses as linked.
    """

    facts: KernelFacts | None = None
    symbols: Symbols | None = None
    image_base: int = 0
    image_size: int = 0
    physical_slide: int | None = None
    virtual_slide: int | None = None

    def function(self, address: int) -> tuple[str, int] | None:
        """(name, offset): a symbol, or `image` for the image as it was loaded. None for anything else."""
        linked = self.linked(address)
        if linked is not None and self.symbols is not None:
            return self.symbols.name_at(linked)
        if self.image_base <= address < self.image_base + self.image_size:
            return "image", address - self.image_base
        return None

    def linked(self, address: int) -> int | None:
        """The virtual address as linked of a place in the kernel proper, given by virtual or identity-mapped address."""
        if address >= KERNEL_HALF:
            return None if self.virtual_slide is None else address - self.virtual_slide
        if self.physical_slide is not None and self.facts is not None:
            return self.facts.virtual_of(address - self.physical_slide)
        return None

    def ref(self, address: int) -> CodeRef:
        """An address with its name where there is one."""
        found = self.function(address)
        name = None if found is None else f"{found[0]}+{found[1]:#x}"
        return CodeRef(address=hexadecimal(address), symbol=name)
