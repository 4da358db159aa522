"""Why images cannot be loaded though their headers announce an entry; tests/lab/test_routes_agree.py has many more."""

from __future__ import annotations

import pytest

from efishim.errors import ProviderError
from efishim.image.entries import Entry
from efishim.image.obstacles import LargestPc, obstacle
from efishim.image.opened import open_image
from tests.image.test_entries import TEXT
from tests.support.images import build_bzimage, build_pe


@pytest.mark.parametrize(
    ("data", "entry", "said"),
    [
        (build_pe([TEXT]), Entry.EFI, ""),
        (build_pe([TEXT], size_of_image=0), Entry.EFI, "asks for 0 bytes"),
        (build_pe([TEXT], entry=0x900000), Entry.EFI, "entry point 0x900000 lies outside"),
        (build_pe([TEXT], characteristics=0x207), Entry.EFI, ""),
        (build_pe([TEXT], characteristics=0x207, image_base=0x400010), Entry.EFI, "only be loaded at 0x400010"),
        (build_pe([TEXT], characteristics=0x207, image_base=0xF000_0000), Entry.EFI, "only be loaded at 0xf0000000"),
        (build_pe([TEXT], image_base=0xF000_0000), Entry.EFI, ""),
        (build_bzimage(), Entry.LINUX32, ""),
        (build_bzimage(patches={0x230: bytes(4)}), Entry.LINUX32, "no power of two"),
        (build_bzimage(patches={0x230: bytes(4), 0x234: b"\0"}), Entry.LINUX32, ""),
    ],
)
def test_what_stands_in_the_way(data: bytes, entry: Entry, said: str) -> None:
    found = obstacle(open_image(data, path="image"), entry)
    assert said in found
    assert bool(found) == bool(said)


def test_the_memory_of_the_largest_pc() -> None:
    pc, other = LargestPc(), LargestPc(hole=False)
    assert not pc.fits(0x9_F000, 0x2000)
    assert other.fits(0x9_F000, 0x2000)
    assert not other.fits(0xBFFF_F000, 0x2000)
    assert pc.place(0x1000, align=0x20_0000, above=0x9_F001) == 0x20_0000
    with pytest.raises(ProviderError, match="no room for it of 0x100 bytes between 0x10 and 0x100 on any machine"):
        pc.place(0x100, above=0x10, below=0x100, what="it")
