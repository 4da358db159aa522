"""SYSLINUX for EFI, which brings its own FAT driver and enters kernels at their handover entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import LoaderFile, LoaderWay, Program, Specification
from efishim_plugins.loader_text import one_line, slashes

if TYPE_CHECKING:
    from efishim.provider import LoaderRequest

IMAGE = "usr/lib/SYSLINUX.EFI/efi64/syslinux.efi"
CORE = "usr/lib/syslinux/modules/efi64/ldlinux.e64"


class SyslinuxEfi:
    """The program and its core module from packages of the system's distribution."""

    name = "syslinux-efi"
    summary = "SYSLINUX 6 for 64-bit EFI firmware, from the packages syslinux-efi and syslinux-common"
    specifications = (
        Specification("The Syslinux Project, SYSLINUX configuration", "https://wiki.syslinux.org/wiki/index.php?title=Config"),
    )
    limits = ("It starts the kernel at once; there is no menu.",)
    ways = (LoaderWay("linux", "the directive LINUX, which loads the kernel itself and enters it as that version does"),)
    programs = (
        Program("\\EFI\\BOOT\\BOOTX64.EFI", (f"/{IMAGE}", f"deb:syslinux-efi/{IMAGE}")),
        Program("\\EFI\\BOOT\\ldlinux.e64", (f"/{CORE}", f"deb:syslinux-common/{CORE}")),
    )

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        """syslinux.cfg. Raises UsageError for a command line that is no line of text."""
        words = one_line(request.command_line, self.name)
        lines = ["DEFAULT efishim", "PROMPT 0", "LABEL efishim", f"  LINUX {slashes(request.kernel)}"]
        lines += [f"  INITRD {','.join(slashes(one) for one in request.ramdisks)}"] if request.ramdisks else []
        lines += [f"  APPEND {words}"] if words else []
        return (LoaderFile("\\EFI\\BOOT\\syslinux.cfg", ("\n".join(lines) + "\n").encode()),)
