"""Builds a CD image with GRUB and a configuration that boots at once."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from efishim.errors import UsageError
from efishim.oracle.channels import OracleError
from efishim.oracle.qemu import Firmware
from efishim.oracle.tools import grub_modules, require

_PLATFORMS = {Firmware.SEABIOS: ("i386-pc", "grub-pc-bin"), Firmware.OVMF: ("x86_64-efi", "grub-efi-amd64-bin")}
_MODULES = {
    Firmware.SEABIOS: "linux linux16 multiboot multiboot2 iso9660 normal",
    Firmware.OVMF: "linux linuxefi multiboot multiboot2 chain iso9660 normal",
}

_DISK_MODULES = ("part_msdos", "fat", "search", "search_fs_file", "chain", "linux", "linuxefi", "boot")


def iso(folder: Path, firmware: Firmware, commands: str, files: Mapping[str, bytes]) -> Path:
    """Make `folder/grub.iso` for one firmware: `files` by name at its root (or below `boot/`), `commands`, then "boot".

    `folder` must not hold another one yet. Raises MissingTool, OracleError.
    """
    program = require("grub-mkrescue", "grub-common")
    require("xorriso", "xorriso")
    require("mformat", "mtools")
    platform, package = _PLATFORMS[firmware]
    modules = grub_modules(platform, package)
    root = folder / "root"
    (root / "boot/grub").mkdir(parents=True)
    (root / "boot/grub/grub.cfg").write_bytes(f"{commands}\nboot\n".encode("utf-8", "surrogateescape"))
    for name, data in files.items():
        (root / name).write_bytes(data)
    image = folder / "grub.iso"
    options = ["-d", str(modules), f"--install-modules={_MODULES[firmware]}", "--fonts=", "--locales=", "--themes="]
    _run([program, *options, "-o", str(image), str(root)], folder)
    return image


def efi_disk(folder: Path, commands: str, files: Mapping[str, bytes]) -> Path:
    """Make `folder/disk`, to be seen by OVMF as a FAT disk: GRUB as its boot program, which runs `commands` and "boot" with
    that disk as root, and `files` by name. Raises MissingTool, OracleError.

    A FAT disk, unlike a CD, is a file system that the firmware can read too, and with it the kernel's stub.
    """
    program = require("grub-mkimage", "grub-common")
    modules = grub_modules(*_PLATFORMS[Firmware.OVMF])
    disk = folder / "disk"
    (disk / "EFI/BOOT").mkdir(parents=True)
    for name, data in files.items():
        (disk / name).write_bytes(data)
    found = f"search --set=root --file /{next(iter(files))}\n"
    config = folder / "early.cfg"
    config.write_bytes(f"{found}{commands}\nboot\n".encode("utf-8", "surrogateescape"))
    options = ["-d", str(modules), "-O", "x86_64-efi", "-p", "/", "-c", str(config)]
    _run([program, *options, "-o", str(disk / "EFI/BOOT/BOOTX64.EFI"), *_DISK_MODULES], folder)
    return disk


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = " ".join((error.stderr or b"").decode("utf-8", "backslashreplace").split())[-300:]
        raise OracleError(f"{Path(command[0]).name} failed: {said or error}") from error


def words(cmdline: bytes) -> str:
    """A kernel command line as arguments of a GRUB command, each quoted. Raises UsageError for control characters,
    which GRUB's configuration cannot carry.
    """
    text = cmdline.decode("utf-8", "surrogateescape")
    if any(ord(char) < 0x20 for char in text):
        raise UsageError("GRUB cannot pass on a command line with control characters")
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in text.split(" ") if word)
