"""GRUB as the loader in between: a CD image whose configuration is run at once."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.support.qemu import Firmware, MissingTool, require

_PLATFORMS = {Firmware.SEABIOS: ("i386-pc", "grub-pc-bin"), Firmware.OVMF: ("x86_64-efi", "grub-efi-amd64-bin")}
_MODULES = {
    Firmware.SEABIOS: "linux linux16 multiboot multiboot2 iso9660 normal",
    Firmware.OVMF: "linux linuxefi multiboot multiboot2 chain iso9660 normal",
}


def iso(folder: Path, firmware: Firmware, commands: str, files: Mapping[str, bytes]) -> Path:
    """Make `folder/grub.iso` for one firmware: `files` by name at its root, `commands` and then "boot".

    `folder` must not hold another one yet. Raises MissingTool.
    """
    program = require("grub-mkrescue", "grub-common")
    require("xorriso", "xorriso")
    require("mformat", "mtools")
    platform, package = _PLATFORMS[firmware]
    modules = Path("/usr/lib/grub", platform)
    if not modules.is_dir():
        raise MissingTool(f"GRUB for {platform} is not installed: apt-get install {package}")
    root = folder / "root"
    (root / "boot/grub").mkdir(parents=True)
    (root / "boot/grub/grub.cfg").write_text(f"{commands}\nboot\n")
    for name, data in files.items():
        (root / name).write_bytes(data)
    image = folder / "grub.iso"
    arguments = ["-d", str(modules), f"--install-modules={_MODULES[firmware]}", "--fonts=", "--locales=", "--themes="]
    subprocess.run([program, *arguments, "-o", str(image), str(root)], check=True, capture_output=True, timeout=120)
    return image
