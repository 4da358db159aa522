"""shim, which firmware starts, and GRUB, which shim starts; on a machine without Secure Boot shim checks no signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import LoaderFile, Program, Specification
from efishim_plugins.grub_efi.loader import GrubEfi

if TYPE_CHECKING:
    from efishim.provider import LoaderRequest

SIGNED = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
SHIM = "usr/lib/shim/shimx64.efi.signed"


class ShimGrubEfi:
    """The signed programs from packages of the system's distribution, as its installer puts them on a disk."""

    name = "shim+grub-efi"
    summary = "shim in front of GRUB 2, from the packages shim-signed and grub-efi-amd64-signed"
    specifications = (
        *GrubEfi.specifications,
        Specification("shim, a first-stage UEFI bootloader", "https://github.com/rhboot/shim/blob/main/README.md"),
    )
    limits = ("Secure Boot is off, so nothing is verified.", *GrubEfi.limits)
    ways = GrubEfi.ways
    programs = (
        Program("\\EFI\\BOOT\\BOOTX64.EFI", (f"/{SHIM}", f"deb:shim-signed/{SHIM}")),
        Program("\\EFI\\BOOT\\grubx64.efi", (f"/{SIGNED}", f"deb:grub-efi-amd64-signed/{SIGNED}")),
    )

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        """grub.cfg. Raises UsageError for what GRUB cannot be told."""
        return GrubEfi().configuration(request)
