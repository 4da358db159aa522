"""systemd-boot with one entry of the Boot Loader Specification."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import LoaderFile, LoaderWay, Program, Specification
from efishim_plugins.loader_text import one_line, slashes

if TYPE_CHECKING:
    from efishim.provider import LoaderRequest

IMAGE = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
CONFIGURATION = b"timeout 0\ndefault efishim.conf\nauto-entries no\nauto-firmware no\n"


class SystemdBoot:
    """The program from a package of the system's distribution."""

    name = "systemd-boot"
    summary = "systemd-boot for 64-bit EFI firmware, from the package systemd-boot-efi"
    specifications = (
        Specification(
            "The Boot Loader Specification", "https://uapi-group.org/specifications/specs/boot_loader_specification/"
        ),
        Specification("loader.conf(5)", "https://www.freedesktop.org/software/systemd/man/latest/loader.conf.html"),
    )
    limits = ("It starts the kernel at once; there is no menu.",)
    ways = (LoaderWay("efi", "through the firmware's LoadImage and StartImage, the ramdisk through LoadFile2"),)
    programs = (Program("\\EFI\\BOOT\\BOOTX64.EFI", (f"/{IMAGE}", f"deb:systemd-boot-efi/{IMAGE}")),)

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        """loader.conf and the entry. Raises UsageError for a command line that is no line of text."""
        options = one_line(request.command_line, self.name)
        lines = ["title efishim", f"linux {slashes(request.kernel)}"]
        lines += [f"initrd {slashes(one)}" for one in request.ramdisks]
        lines += [f"options {options}"] if options else []
        return (
            LoaderFile("\\loader\\loader.conf", CONFIGURATION),
            LoaderFile("\\loader\\entries\\efishim.conf", ("\n".join(lines) + "\n").encode()),
        )
