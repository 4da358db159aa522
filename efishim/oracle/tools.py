"""Locates the programs and firmware files that only the oracle needs."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from efishim.errors import EfishimError

QEMU = "qemu-system-x86_64"

_OVMF_FOLDERS = ("/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf")
_OVMF_NAMES = (
    ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
    ("OVMF_CODE.fd", "OVMF_VARS.fd"),
    ("OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"),
)
"""(code, template of variables) as Debian, Arch and Fedora name them."""

GRUB_FOLDER = Path("/usr/lib/grub")


class MissingTool(EfishimError):
    """A program or file that the comparison with real firmware needs; the hint names the Debian package."""

    def __str__(self) -> str:
        return f"{self.sentence}: {self.hint}"


def require(program: str, package: str) -> str:
    """Where a program is. Raises MissingTool."""
    path = shutil.which(program)
    if path is None:
        raise MissingTool(f"{program} is not installed", hint=f"apt-get install {package}")
    return path


def qemu() -> str:
    """Where QEMU is. Raises MissingTool."""
    return require(QEMU, "qemu-system-x86")


def qemu_version() -> str:
    """What QEMU calls itself, without the word before the number: `7.2.22 (Debian 1:7.2+dfsg-7)`. Raises MissingTool."""
    done = subprocess.run([qemu(), "--version"], capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    first = done.stdout.decode("utf-8", "backslashreplace").partition("\n")[0]
    return first.removeprefix("QEMU emulator version ").strip()


def ovmf() -> tuple[Path, Path]:
    """OVMF's code and its template of variables. Raises MissingTool."""
    for folder in map(Path, _OVMF_FOLDERS):
        for code, variables in _OVMF_NAMES:
            if (folder / code).is_file() and (folder / variables).is_file():
                return folder / code, folder / variables
    raise MissingTool("OVMF is not installed", hint="apt-get install ovmf")


def grub_modules(platform: str, package: str) -> Path:
    """The folder of GRUB's modules for `i386-pc` or `x86_64-efi`. Raises MissingTool."""
    folder = GRUB_FOLDER / platform
    if not folder.is_dir():
        raise MissingTool(f"GRUB for {platform} is not installed", hint=f"apt-get install {package}")
    return folder


def firmware_identity(path: Path) -> str:
    """A firmware file by name and the first digits of its hash, since it carries no version that could be trusted."""
    return f"{path.name} sha256:{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"


def seabios() -> Path | None:
    """The file of QEMU's SeaBIOS, None when it is not where QEMU says that it looks."""
    done = subprocess.run([qemu(), "-L", "help"], capture_output=True, timeout=30, check=False, stdin=subprocess.DEVNULL)
    for folder in done.stdout.decode("utf-8", "surrogateescape").splitlines():
        path = Path(folder) / "bios-256k.bin"
        if path.is_file():
            return path
    return None
