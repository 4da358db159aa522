"""GRUB as an image of its own, made with grub-mkimage out of the modules in a Debian package."""

from __future__ import annotations

import os
import subprocess
from enum import StrEnum
from pathlib import Path

from efishim.image.apt import Apt
from efishim.image.archive import extract
from efishim.image.cachedir import cache_directory
from tests.support.kernels import DebianKernels
from tests.support.qemu import require
from tests.support.runs import one_at_a_time

EARLY = "serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\n"
"""What a machine without a display needs: GRUB talks to its first serial port."""
COMMANDS: tuple[str, ...] = ("normal", "echo")


class GrubPlatform(StrEnum):
    """What GRUB is built for, by grub-mkimage's names."""

    PC = "i386-pc"
    """Core image for a BIOS; it is a Multiboot kernel too."""
    XEN_PVH = "i386-xen_pvh"
    EFI = "x86_64-efi"


_PACKAGES = {GrubPlatform.PC: "grub-pc-bin", GrubPlatform.XEN_PVH: "grub-xen-bin", GrubPlatform.EFI: "grub-efi-amd64-bin"}


def modules(platform: GrubPlatform) -> Path:
    """The folder with GRUB's modules, out of the package that apt has now. Raises ImageError."""
    package = Apt(os.environ).show(_PACKAGES[platform])
    DebianKernels.versions_used.add(f"{package.name} {package.version}")
    folder = cache_directory(os.environ) / "tests" / f"{package.name}_{package.version.replace(':', '%3a')}"
    with one_at_a_time(folder):
        if not (folder / "whole").exists():
            arrived = folder / "deb"
            arrived.mkdir(exist_ok=True)
            deb = Apt(os.environ).download(package, arrived, lambda what, done, total: None)
            extract(deb, [f"usr/lib/grub/{platform}/*"], folder)
            deb.unlink()
            (folder / "whole").touch()
    return folder / "usr/lib/grub" / platform


def image(platform: GrubPlatform, folder: Path) -> Path:
    """GRUB with a command line and no configuration. Raises ImageError, MissingTool."""
    program = require("grub-mkimage", "grub-common")
    target, early = folder / f"grub-{platform}", folder / f"early-{platform}.cfg"
    arguments = [program, "-O", platform, "-d", str(modules(platform)), "-p", "/nowhere", "-o", str(target)]
    commands = COMMANDS
    if platform is not GrubPlatform.XEN_PVH:  # that one talks to Xen's console by itself
        early.write_text(EARLY)
        arguments += ["-c", str(early)]
        commands = ("serial", "terminal", *COMMANDS)
    subprocess.run([*arguments, *commands], check=True, capture_output=True, timeout=60)
    return target
