"""Requirements on the initial ramdisk in the setup header of Linux."""

from __future__ import annotations

from efishim.lab.abi.ranges import Range, holds, named
from efishim.provider.checking import Findings, Requirement
from efishim.wire.bootparams import SetupHeader

BOOT_RST = "Documentation/arch/x86/boot.rst"
INITRD_MAX_FROM, INITRD_MAX_BEFORE = 0x203, 0x37FF_FFFF
XLF_CAN_BE_LOADED_ABOVE_4G = 1 << 1

BOTH = Requirement(
    "ramdisk/fields",
    "ramdisk_image and ramdisk_size are both set or both zero",
    f'{BOOT_RST}, "ramdisk_image" and "ramdisk_size"',
)
IN_RAM = Requirement("ramdisk/ram", "The initial ramdisk lies in RAM", f'{BOOT_RST}, "ramdisk_image"')
HIGHEST = Requirement(
    "ramdisk/highest",
    "No byte of the initial ramdisk lies above initrd_addr_max, unless the kernel takes one above 4 GiB",
    f'{BOOT_RST}, "initrd_addr_max" and "xloadflags"',
)
REQUIREMENTS = (BOTH, IN_RAM, HIGHEST)


def check(findings: Findings, hdr: SetupHeader, start: int, size: int, ram: list[Range] | None) -> Range:
    """A ramdisk of `size` bytes at `start`; gives its range. Without `ram` it is not known yet what is RAM."""
    one = (start, start + size)
    if not start and not size:
        return one
    findings.demand(BOTH, bool(start) and bool(size), f"they are {start:#x} and {size:#x}")
    if ram is not None:
        findings.demand(IN_RAM, holds(ram, one), f"{named(one)} is not all RAM in e820_table")
    highest = hdr.initrd_addr_max if hdr.version >= INITRD_MAX_FROM else INITRD_MAX_BEFORE
    above = bool(hdr.xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G) and start >= 1 << 32
    findings.demand(HIGHEST, above or one[1] - 1 <= highest, f"it ends at {one[1]:#x} and initrd_addr_max is {highest:#x}")
    return one
