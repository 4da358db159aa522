"""rEFInd with one entry of its configuration, and without a search for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import LoaderFile, LoaderWay, Program, Specification
from efishim_plugins.loader_text import one_line, slashes

if TYPE_CHECKING:
    from efishim.provider import LoaderRequest

IMAGE = "usr/share/refind/refind/refind_x64.efi"
AT_ONCE = -1
"""`timeout`: start the default without a menu."""


class Refind:
    """The program from a package of the system's distribution."""

    name = "refind"
    summary = "rEFInd for 64-bit EFI firmware, from the package refind"
    specifications = (Specification("The rEFInd Boot Manager", "https://www.rodsbooks.com/refind/configfile.html"),)
    limits = ("It starts the kernel at once, in text mode; there is no menu.",)
    ways = (LoaderWay("efi", "through the firmware's LoadImage and StartImage, with initrd= on the command line"),)
    programs = (Program("\\EFI\\BOOT\\BOOTX64.EFI", (f"/{IMAGE}", f"deb:refind/{IMAGE}")),)

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        """refind.conf. Raises UsageError for a command line that is no line of text."""
        words = one_line(request.command_line, self.name).replace('"', '""')
        more = "".join(f" initrd={one}" for one in request.ramdisks[1:])
        lines = [
            f"timeout {AT_ONCE}",
            "textonly true",
            "scanfor manual",
            'default_selection "efishim"',
            'menuentry "efishim" {',
            f"    loader {slashes(request.kernel)}",
            *(f"    initrd {slashes(one)}" for one in request.ramdisks[:1]),
            f'    options "{words}{more}"',
            "}",
            "",
        ]
        return (LoaderFile("\\EFI\\BOOT\\refind.conf", "\n".join(lines).encode()),)
