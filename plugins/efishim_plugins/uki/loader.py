"""systemd's stub with the kernel, its command line and its ramdisk in one EFI program, made as ukify makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.provider import LoaderFile, LoaderWay, Program, Specification
from efishim_plugins.uki.sections import with_sections

if TYPE_CHECKING:
    from efishim.provider import LoaderRequest

BOOT = "\\EFI\\BOOT\\BOOTX64.EFI"
STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"


class UnifiedKernelImage:
    """The stub from a package of the system's distribution, and the rest from the run."""

    name = "uki"
    summary = "a unified kernel image, with systemd's stub from the package systemd-boot-efi"
    specifications = (
        Specification("Unified Kernel Image (UKI)", "https://uapi-group.org/specifications/specs/unified_kernel_image/"),
        Specification("systemd-stub(7)", "https://www.freedesktop.org/software/systemd/man/latest/systemd-stub.html"),
    )
    limits = (
        "It has the sections .osrel, .cmdline, .initrd and .linux, and no signature.",
        "Several ramdisks are one section, each padded to four bytes.",
    )
    ways = (LoaderWay("efi", "systemd's stub has the firmware load and start the kernel; the ramdisk comes through LoadFile2"),)
    programs = (Program(BOOT, (f"/{STUB}", f"deb:systemd-boot-efi/{STUB}")),)

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        """None: everything is in the program."""
        return ()

    def assemble(self, request: LoaderRequest, files: Mapping[str, bytes]) -> tuple[LoaderFile, ...]:
        """The program. Raises UsageError for a stub that has no room for more sections."""
        ramdisk = b"".join(one + bytes(-len(one) % 4) for one in (files[path] for path in request.ramdisks))
        parts = {
            ".osrel": b"ID=efishim\nPRETTY_NAME=efishim\n",
            ".cmdline": request.command_line,
            ".initrd": ramdisk,
            ".linux": files[request.kernel],
        }
        return (LoaderFile(BOOT, with_sections(files[BOOT], {name: part for name, part in parts.items() if part})),)
