"""Starts QEMU: the command line of the reference machine.

One processor, no KVM, no default devices, no network. There is a display, because firmware and kernel probe for it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path

from efishim.lab.workers import die_with_parent
from efishim.oracle import tools
from efishim.oracle.channels import Channels, Pipe
from efishim.oracle.gdb import Gdb
from efishim.oracle.qmp import Qmp
from efishim.oracle.ram import SharedRam
from efishim.oracle.scratch import scratch

MIB = 1 << 20
START_SECONDS = 60.0
"""Host seconds for QEMU to start; what the guest is given begins after that."""
LOG_LIMIT = 1 << 20
"""Bytes of QEMU's log that are looked at; a reset takes 2 KiB of it."""


class Firmware(StrEnum):
    """What the machine starts with."""

    SEABIOS = "SeaBIOS"
    OVMF = "OVMF"


@dataclass(frozen=True)
class Boot:
    """What is booted, and on what."""

    kernel: Path | None = None
    """For `-kernel`: QEMU looks for a Linux setup header, then for a multiboot header, then for a PVH note."""
    initrd: Path | None = None
    append: str | bytes | None = None
    firmware: Firmware = Firmware.SEABIOS
    cdrom: Path | None = None
    fat: Path | None = None
    """A folder that the machine sees as a FAT disk: what OVMF looks for `EFI/BOOT/BOOTX64.EFI` on."""
    memory: int = 512
    """MiB."""
    machine: str = "pc"
    cpu: str = "qemu64"
    vga: str = "none"
    extra: tuple[str, ...] = ()


def arguments(boot: Boot, scratch: Path) -> list[str | bytes]:
    """Everything on QEMU's command line that the guest can see, except its memory; OVMF's variables are copied to
    `scratch`. Raises MissingTool.
    """
    words: list[str | bytes] = [tools.qemu(), "-accel", "tcg", "-cpu", boot.cpu, "-smp", "1"]
    words += ["-nodefaults", "-net", "none", "-display", "none", "-vga", boot.vga]
    if boot.firmware is Firmware.OVMF:
        code, variables = tools.ovmf()
        copy = scratch / "variables"
        shutil.copyfile(variables, copy)
        words += ["-drive", f"if=pflash,format=raw,readonly=on,file={_value(code)}"]
        words += ["-drive", f"if=pflash,format=raw,file={_value(copy)}"]
    if boot.cdrom is not None:
        words += ["-drive", f"if=none,id=cd,format=raw,media=cdrom,readonly=on,file={_value(boot.cdrom)}"]
        words += ["-device", "ide-cd,drive=cd,bootindex=0"]
    if boot.fat is not None:
        words += ["-drive", f"if=none,id=fat,format=raw,snapshot=on,file.driver=vvfat,file.dir={_value(boot.fat)}"]
        words += ["-device", "ide-hd,drive=fat,bootindex=0"]
    for option, path in (("-kernel", boot.kernel), ("-initrd", boot.initrd)):
        if path is not None:
            words += [option, str(path)]
    if boot.append is not None:
        words += ["-append", boot.append]
    return [*words, *boot.extra]


def _value(path: Path) -> str:
    """A path as the value of a key: QEMU takes a comma for the end of it, and two for one (util/keyval.c)."""
    return str(path).replace(",", ",,")


@dataclass(frozen=True)
class Qemu:
    """A QEMU that has not run its first instruction yet."""

    process: subprocess.Popen[bytes]
    channels: Channels
    gdb: Gdb
    qmp: Qmp
    ram: SharedRam
    log: Path

    def triple_fault(self) -> bool:
        """Did the processor shut down by a triple fault? QEMU resets then, and says why only in its log."""
        try:
            return b"Triple fault" in self.log.read_bytes()[:LOG_LIMIT]
        except OSError:
            return False


@contextmanager
def started(boot: Boot, *, timeout: float, epoch: int) -> Iterator[Qemu]:
    """Start it, stopped, and end it in any case. `timeout` in host seconds from the first instruction on; `epoch` is what its
    clock shows, seconds since 1970. Raises MissingTool, OracleError.
    """
    tools.qemu()
    with scratch() as folder:
        ram = SharedRam(boot.memory * MIB)
        pairs = {name: socket.socketpair() for name in ("gdb", "qmp")}
        inherited = {name: theirs.fileno() for name, (_, theirs) in pairs.items()}
        serial, serial_end = os.pipe()
        clock = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        command: list[str | bytes] = [*arguments(boot, folder), "-machine", f"{boot.machine},memory-backend=ram"]
        command += [*ram.arguments, "-rtc", f"base={clock}", "-S", "-no-reboot", "-no-shutdown"]
        for name, number in inherited.items():
            command += ["-chardev", f"socket,id={name},fd={number}"]
        log = folder / "log"
        command += ["-d", "cpu_reset", "-D", log.name]  # in its current directory: a path may hold no per cent sign
        command += ["-gdb", "chardev:gdb", "-mon", "chardev=qmp,mode=control"]
        command += ["-chardev", f"file,id=com,path=/proc/self/fd/{serial_end}", "-serial", "chardev:com"]
        process: subprocess.Popen[bytes] | None = None
        channels: Channels | None = None
        try:
            process = subprocess.Popen(
                command,
                cwd=folder,  # in its current directory QEMU looks for firmware first (softmmu/datadir.c, qemu_find_file)
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(ram.descriptor, serial_end, *inherited.values()),
                env=os.environ | {"TMPDIR": str(folder)},
                start_new_session=True,  # Ctrl-C is for efishim, which then ends QEMU itself
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - one thread; only system calls
            )
            for _, theirs in pairs.values():
                theirs.close()
            channels = Channels(process, time.monotonic() + max(timeout, START_SECONDS))
            channels.add_serial(Pipe(serial))
            lines = {name: channels.add(pairs[name][0]) for name in ("gdb", "qmp")}
            gdb, qmp = Gdb(channels, lines["gdb"]), Qmp(channels, lines["qmp"])
            qmp.greet()
            gdb.command("qSupported:xmlRegisters=i386")
            channels.deadline = time.monotonic() + timeout
            yield Qemu(process, channels, gdb, qmp, ram, log)
        finally:
            if process is not None:
                process.kill()
                process.wait()
                if process.stderr is not None:
                    process.stderr.close()
            if channels is not None:
                channels.close()
            else:
                os.close(serial)
            for ours, theirs in pairs.values():
                ours.close()
                theirs.close()
            os.close(serial_end)
            ram.close()
