"""The judge: `qemu-system-x86_64` without KVM, one guest program at a time, its serial port as text.

The machine is that of `efishim oracle`, without a display and without its debug stub. What ended the run is taken from
QEMU's own event, for its exit status does not tell a power-off from a triple fault.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from efishim.oracle.qemu import Boot, Firmware, arguments
from efishim.oracle.tools import QEMU as PROGRAM
from efishim.oracle.tools import MissingTool, ovmf, require

__all__ = ["PROGRAM", "Boot", "Ending", "Firmware", "MissingTool", "Outcome", "command", "ovmf", "require", "run"]


LOOK = 0.2
"""Host seconds between two looks at what was sent."""
Until = Callable[[str], bool]


class Ending(StrEnum):
    """Why the machine stopped. The values are QEMU's `ShutdownCause`, but for the last three."""

    POWER_OFF = "guest-shutdown"
    RESET = "guest-reset"
    PANIC = "guest-panic"
    SEEN = "seen"
    TIMEOUT = "timeout"
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    serial: str
    """Everything that was sent over COM1; bytes above 127 as U+FFFD, carriage returns removed."""
    ending: Ending
    seconds: float
    """Host time from start to end of QEMU."""
    stderr: str


def command(boot: Boot, scratch: Path) -> list[str | bytes]:
    """The command line for a boot; OVMF's variables are copied to `scratch`. Raises MissingTool."""
    words = arguments(boot, scratch)
    words += ["-machine", boot.machine, "-m", str(boot.memory)]
    return [*words, "-no-reboot", "-serial", f"file:{scratch / 'serial'}", "-qmp", "stdio"]


def run(boot: Boot, scratch: Path, *, timeout: float = 240, until: Until | None = None) -> Outcome:
    """Boot until the guest ends it, what it sent is what is waited for, or `timeout` seconds of host time are over. `scratch`
    is a folder for this run's own files. Raises MissingTool.
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
            ending = _wait(process, scratch / "serial", timeout, until)
        except subprocess.TimeoutExpired:
            ending = Ending.TIMEOUT
        except BrokenPipeError:
            ending = Ending.FAILED
        finally:
            process.kill()
        events, errors = process.communicate()
    return Outcome(_text(scratch / "serial"), ending or _cause(events), time.monotonic() - started, errors)


def _wait(process: subprocess.Popen[str], serial: Path, timeout: float, until: Until | None) -> Ending | None:
    """None when the machine ended by itself. Raises subprocess.TimeoutExpired."""
    if until is None:
        process.wait(timeout)
        return None
    last = time.monotonic() + timeout
    while not until(_text(serial)):
        try:
            process.wait(LOOK)
        except subprocess.TimeoutExpired:
            if time.monotonic() > last:
                raise
        else:
            return None
    return Ending.SEEN


def _text(serial: Path) -> str:
    return serial.read_bytes().decode("ascii", "replace").replace("\r", "") if serial.exists() else ""


def _cause(events: str) -> Ending:
    for line in events.splitlines():
        event = json.loads(line)
        if event.get("event") == "SHUTDOWN":
            return Ending(event["data"]["reason"])
    return Ending.FAILED
