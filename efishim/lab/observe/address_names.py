"""Names addresses of a run: kernel symbols, relocated as needed, and offsets into the loaded image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from efishim.image.facts import KernelFacts
from efishim.image.symbols import Symbols
from efishim.lab.record import CodeRef, Hex

KERNEL_HALF = 0xFFFF_FFFF_8000_0000
"""Lowest address of the kernel's own mapping (__START_KERNEL_map, Documentation/arch/x86/x86_64/mm.rst)."""


@dataclass
class AddressNames:
    """What is known about where code lies; the parts become known while the guest runs.

    `physical_slide` and `virtual_slide` are what KASLR added to the addresses as linked.
    """

    facts: KernelFacts | None = None
    symbols: Symbols | None = None
    image_base: int = 0
    image_size: int = 0
    physical_slide: int | None = None
    virtual_slide: int | None = None
    guest_shim: Symbols | None = None
    """The shim that runs in the guest, where it is loaded."""
    kernel_runs_from: int = 0
    """Instructions until the kernel proper runs. Before, a decompressor may run where the kernel will lie."""

    @property
    def kernel_half(self) -> int:
        """Lowest address of the kernel's own mapping: of a 32-bit kernel its PAGE_OFFSET, by which it is linked higher."""
        if self.facts is None or self.facts.wide or not self.facts.segments:
            return KERNEL_HALF
        first = self.facts.segments[0]
        return first.virtual - first.physical

    def kernel_function(self, address: int) -> tuple[str, int] | None:
        """(symbol, offset) of a place in the kernel proper, None for anything else and without symbols."""
        linked = self.linked(address)
        return self.symbols.name_at(linked) if linked is not None and self.symbols is not None else None

    def kernel_functions(self, addresses: Iterable[int]) -> dict[int, tuple[str, int]]:
        """What `kernel_function` says of those of the addresses that lie in the kernel's own mapping."""
        half, slide = self.kernel_half, self.virtual_slide
        if self.symbols is None or slide is None:
            return {}
        found = self.symbols.names_at({address - slide for address in addresses if address >= half})
        return {linked + slide: place for linked, place in found.items()}

    def function(self, address: int, insns: int | None = None) -> tuple[str, int] | None:
        """(name, offset): a symbol, or `image` for the image as it was loaded. None for anything else. `insns` is when the
        guest was there, for a place that may have been something else before.
        """
        early = insns is not None and insns < self.kernel_runs_from
        found = None if early else self.kernel_function(address)
        if found is not None:
            return found
        if self.image_base <= address < self.image_base + self.image_size:
            return "image", address - self.image_base
        return self.shim_function(address)

    def shim_function(self, address: int) -> tuple[str, int] | None:
        """(`shim:symbol`, offset) of a place in a shim that runs in the guest."""
        found = self.guest_shim.name_at(address) if self.guest_shim is not None else None
        return (f"shim:{found[0]}", found[1]) if found is not None else None

    def linked(self, address: int) -> int | None:
        """The virtual address as linked of a place in the kernel proper, given by virtual or identity-mapped address."""
        if address >= self.kernel_half:
            return None if self.virtual_slide is None else address - self.virtual_slide
        if self.physical_slide is not None and self.facts is not None:
            return self.facts.virtual_of(address - self.physical_slide)
        return None

    def ref(self, address: int, insns: int | None = None) -> CodeRef:
        """An address with its name where there is one, as `function` finds it."""
        found = self.function(address, insns)
        name = None if found is None else f"{found[0]}+{found[1]:#x}"
        return CodeRef(address=Hex(address), symbol=name)
