"""GRUB 2 as an EFI application, as Debian builds it: one image with its modules, which reads grub.cfg beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import LoaderFile, LoaderWay, Program, Specification
from efishim_plugins.loader_text import one_line, slashes

if TYPE_CHECKING:
    from efishim.provider import LoaderRequest

IMAGE = "usr/lib/grub/x86_64-efi/monolithic/grubx64.efi"
LINUX, EFI = "linux", "efi"
PREFIXES = ("\\EFI\\debian", "\\EFI\\ubuntu", "\\boot\\grub")
"""Where the image looks for its configuration: the directory that its distribution has built in."""


class GrubEfi:
    """GRUB's own program from a package of the system's distribution."""

    name = "grub-efi"
    summary = "GRUB 2 for 64-bit EFI firmware, from the package grub-efi-amd64-bin"
    specifications = (
        Specification("GNU GRUB Manual 2.06", "https://www.gnu.org/software/grub/manual/grub/html_node/index.html"),
    )
    limits = (
        "It is the monolithic image of Debian and its relatives, which looks for grub.cfg in its distribution's directory.",
        "It starts the kernel at once; there is no menu.",
    )
    ways = (
        LoaderWay(LINUX, "the command linux, which loads the kernel itself and enters it as that version of GRUB does"),
        LoaderWay(EFI, "the command chainloader, which has the firmware load and start the kernel as an EFI application"),
    )
    programs = (Program("\\EFI\\BOOT\\BOOTX64.EFI", (f"/{IMAGE}", f"deb:grub-efi-amd64-bin/{IMAGE}")),)

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        """grub.cfg, in each place where the image may look for it. Raises UsageError for what GRUB cannot be told."""
        kernel = slashes(request.kernel)
        ramdisks = " ".join(slashes(one) for one in request.ramdisks)
        words = _quoted(request.command_line)
        if request.way == LINUX:
            commands = [f"linux {kernel} {words}", *([f"initrd {ramdisks}"] if ramdisks else [])]
        else:
            given = " ".join("initrd=" + one.replace("\\", "\\\\") for one in request.ramdisks)
            commands = [f"chainloader {kernel} {words} {given}".rstrip()]
        # GRUB goes on behind a command that failed, and would wait at its prompt for input.
        text = "\n".join(["search --no-floppy --file --set=root /vmlinuz", *commands, "boot", "exit", ""])
        return tuple(LoaderFile(f"{prefix}\\grub.cfg", text.encode()) for prefix in PREFIXES)


def _quoted(command_line: bytes) -> str:
    """A command line as words of GRUB's language."""
    words = one_line(command_line, GrubEfi.name).split(" ")
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in words if word)
