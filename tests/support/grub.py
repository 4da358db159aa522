"""GRUB as the loader in between: a CD image that boots on SeaBIOS and on OVMF, with one menu entry that is taken at once."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.qemu import MissingTool, require

_PLATFORMS = {"i386-pc": "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin"}


def iso(folder: Path, commands: str, files: Mapping[str, bytes]) -> Path:
    """Make `folder/grub.iso`: `files` by name at its root, `commands` as GRUB's configuration. Raises MissingTool."""
    program = require("grub-mkrescue", "grub-common")
    require("xorriso", "xorriso")
    require("mformat", "mtools")
    for platform, package in _PLATFORMS.items():
        if not Path("/usr/lib/grub", platform).is_dir():
            raise MissingTool(f"GRUB for {platform} is not installed: apt-get install {package}")
    root = folder / "root"
    (root / "boot/grub").mkdir(parents=True)
    (root / "boot/grub/grub.cfg").write_text(commands)
    for name, data in files.items():
        (root / name).write_bytes(data)
    image = folder / "grub.iso"
    modules = "linux linux16 multiboot multiboot2 chain iso9660 normal boot"
    arguments = ["--fonts=", "--locales=", "--themes=", f"--install-modules={modules}", "-o", str(image), str(root)]
    subprocess.run([program, *arguments], check=True, capture_output=True, timeout=120)
    return image
