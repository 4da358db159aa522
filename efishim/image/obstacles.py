"""Why an image cannot be loaded for an entry that its headers announce, on no machine of the usual kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.errors import ImageError, ProviderError
from efishim.image.entries import Entry
from efishim.image.loading import FOUR_GIB, LOW_MEMORY, LOW_RAM_TOP, check_kernel, plan_load
from efishim.image.pe import layout_pe

if TYPE_CHECKING:
    from efishim.image.opened import Image

CONVENTIONAL_END = 0xA_0000
PAGE = 0x1000


class LargestPc:
    """The memory of a PC that has as much as it can have, all of it free: what does not fit here fits nowhere."""

    def __init__(self, *, hole: bool = True) -> None:
        """`hole`: between 640 KiB and 1 MiB are a PC's devices, which a machine of a hypervisor may lack."""
        low = [(0, CONVENTIONAL_END), (LOW_MEMORY, LOW_RAM_TOP)] if hole else [(0, LOW_RAM_TOP)]
        self._ranges = [*low, (FOUR_GIB, 1 << 40)]

    def fits(self, start: int, size: int) -> bool:
        """Is all of it memory?"""
        return any(low <= start and start + size <= high for low, high in self._ranges)

    def place(
        self, size: int, *, align: int = 16, above: int = 0, below: int = FOUR_GIB, high: bool = False, what: str = ""
    ) -> int:
        """The lowest address. Raises ProviderError when there is none."""
        del high
        for low, top in self._ranges:
            start = -(-max(low, above) // align) * align
            if start + size <= min(top, below):
                return start
        raise ProviderError(f"there is no room for {what} of {size:#x} bytes between {above:#x} and {below:#x} on any machine")

    def take(self, start: int, size: int) -> None:
        """Nothing else is placed here."""


def obstacle(image: Image, entry: Entry) -> str:
    """One sentence, or nothing where the image can be loaded for this entry when there is memory enough.

    Nothing is unpacked for it. The image has the entry.
    """
    try:
        if entry in (Entry.EFI, Entry.EFI_MIXED):
            _as_firmware_does(image)
        elif entry is Entry.PVH:
            check_kernel(image, LargestPc(hole=False))
        else:
            plan_load(image, entry, LargestPc())
    except (ImageError, ProviderError) as error:
        return error.sentence
    return ""


def _as_firmware_does(image: Image) -> None:
    """LoadImage. Raises ImageError."""
    pe = image.parts.pe
    assert pe is not None
    layout = layout_pe(image.data, pe)
    align = layout.section_alignment
    if align & (align - 1):
        raise ImageError(f"the PE image has a SectionAlignment of {align:#x}, which is no power of two")
    base = layout.preferred_base
    if not layout.relocatable and (base < PAGE or base % PAGE or not LargestPc().fits(base, layout.size_of_image)):
        raise ImageError(f"the PE image can only be loaded at {base:#x}, where firmware has no free memory")


__all__ = ["LargestPc", "obstacle"]
