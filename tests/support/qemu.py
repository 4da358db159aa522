"""The judge: `qemu-system-x86_64` without KVM, one guest program at a time, its serial port as text.

The machine is as small as QEMU allows: no default devices, no display, no network, one processor. What ended the run is
taken from QEMU's own event, for its exit status does not tell a power-off from a triple fault.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

PROGRAM = "qemu-system-x86_64"
_FOLDERS = (Path("/usr/share/OVMF"), Path("/usr/share/edk2/x64"), Path("/usr/share/edk2/ovmf"))
_NAMES = (("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd"), ("OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd"))


class MissingTool(Exception):
    """A program or file that the comparison needs; the text names the Debian package that has it."""


class Firmware(StrEnum):
    """What the machine starts with."""

    SEABIOS = "SeaBIOS"
    OVMF = "OVMF"


class Ending(StrEnum):
    """Why the machine stopped. The values are QEMU's `ShutdownCause`, but for the last two."""

    POWER_OFF = "guest-shutdown"
    RESET = "guest-reset"
    PANIC = "guest-panic"
    TIMEOUT = "timeout"
    FAILED = "failed"


@dataclass(frozen=True)
class Boot:
    """What is booted, and on what."""

    kernel: Path | None = None
    """For `-kernel`: QEMU looks for a Linux setup header, then for a multiboot header, then for a PVH note."""
    initrd: Path | None = None
    append: str | None = None
    firmware: Firmware = Firmware.SEABIOS
    cdrom: Path | None = None
    fat: Path | None = None
    """A folder that the machine sees as a FAT disk: what OVMF looks for `EFI/BOOT/BOOTX64.EFI` on."""
    memory: int = 512
    """MiB."""
    machine: str = "pc"
    cpu: str = "qemu64"
    extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    serial: str
    """Everything that was sent over COM1; bytes above 127 as U+FFFD, carriage returns removed."""
    ending: Ending
    seconds: float
    """Host time from start to end of QEMU."""
    stderr: str


def require(program: str, package: str) -> str:
    """Where a program is. Raises MissingTool."""
    path = shutil.which(program)
    if path is None:
        raise MissingTool(f"{program} is not installed: apt-get install {package}")
    return path


def ovmf() -> tuple[Path, Path]:
    """OVMF's code and its template of variables. Raises MissingTool."""
    for folder in _FOLDERS:
        for code, variables in _NAMES:
            if (folder / code).exists() and (folder / variables).exists():
                return folder / code, folder / variables
    raise MissingTool("OVMF is not installed: apt-get install ovmf")


def command(boot: Boot, scratch: Path) -> list[str]:
    """The command line for a boot; OVMF's variables are copied to `scratch`. Raises MissingTool."""
    arguments = [require(PROGRAM, "qemu-system-x86"), "-accel", "tcg", "-machine", boot.machine, "-cpu", boot.cpu]
    arguments += ["-m", str(boot.memory), "-smp", "1", "-nodefaults", "-net", "none", "-display", "none", "-vga", "none"]
    arguments += ["-no-reboot", "-serial", f"file:{scratch / 'serial'}", "-qmp", "stdio"]
    if boot.firmware is Firmware.OVMF:
        code, variables = ovmf()
        copy = scratch / "variables"
        shutil.copyfile(variables, copy)
        arguments += ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
        arguments += ["-drive", f"if=pflash,format=raw,file={copy}"]
    if boot.cdrom is not None:
        arguments += ["-drive", f"if=none,id=cd,format=raw,media=cdrom,readonly=on,file={boot.cdrom}"]
        arguments += ["-device", "ide-cd,drive=cd,bootindex=0"]
    if boot.fat is not None:
        arguments += ["-drive", f"if=none,id=fat,format=raw,readonly=on,file=fat:{boot.fat}"]
        arguments += ["-device", "ide-hd,drive=fat,bootindex=0"]
    for option, value in (("-kernel", boot.kernel), ("-initrd", boot.initrd), ("-append", boot.append)):
        if value is not None:
            arguments += [option, str(value)]
    return [*arguments, *boot.extra]


def run(boot: Boot, scratch: Path, *, timeout: float = 240) -> Outcome:
    """Boot until the guest ends it or `timeout` seconds of host time are over. `scratch` is a folder for this run's
    own files. Raises MissingTool.
    """
    started = time.monotonic()
    with subprocess.Popen(
        command(boot, scratch), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            if process.stdin is None:
                raise ValueError("stdin was asked for")
            process.stdin.write('{"execute": "qmp_capabilities"}\n')
            process.stdin.flush()
            process.wait(timeout)
            ending = None
        except subprocess.TimeoutExpired:
            ending = Ending.TIMEOUT
        except BrokenPipeError:
            ending = Ending.FAILED
        finally:
            process.kill()
        events, errors = process.communicate()
    serial = scratch / "serial"
    text = serial.read_bytes().decode("ascii", "replace").replace("\r", "") if serial.exists() else ""
    return Outcome(text, ending or _cause(events), time.monotonic() - started, errors)


def _cause(events: str) -> Ending:
    for line in events.splitlines():
        event = json.loads(line)
        if event.get("event") == "SHUTDOWN":
            return Ending(event["data"]["reason"])
    return Ending.FAILED
