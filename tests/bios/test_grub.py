"""GRUB for BIOSes, entered like a Linux kernel (its lnxboot.img): a program that uses the BIOS from protected mode and back.

It loads itself with int 15h/87, prints through int 10h, reads keys, the memory map and the clock. QEMU starts the same file.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from efishim.bios.config import Display
from tests.bios.linux16 import Boot, load
from tests.stubs.conftest import missing_tools_named
from tests.support.qemu import Boot as QemuBoot
from tests.support.qemu import Ending, MissingTool, require, run

pytestmark = pytest.mark.qemu

SCRIPT = """
serial --unit=0 --speed=115200
terminal_output serial console
echo hello
lsmmap
date
halt
"""
MODULES = "normal echo lsmmap date halt serial terminal minicmd"
ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def image(folder: Path, script: str) -> bytes:
    """GRUB with a script in it, as a file that a Linux loader takes."""
    program, parts = require("grub-mkimage", "grub-common"), Path("/usr/lib/grub/i386-pc")
    if not parts.is_dir():
        raise MissingTool("GRUB for i386-pc is not installed: apt-get install grub-pc-bin")
    (folder / "script").write_text(script)
    arguments = ["-O", "i386-pc", "-p", "/", "-c", str(folder / "script"), "-o", str(folder / "core.img")]
    subprocess.run([program, *arguments, *MODULES.split()], check=True, capture_output=True, timeout=60)
    return (parts / "lnxboot.img").read_bytes() + (folder / "core.img").read_bytes()


def lines(text: str) -> list[str]:
    return [line.strip() for line in ESCAPE.sub("", text).replace("\r", "\n").split("\n") if line.strip()]


def start(folder: Path, script: str, *, keys: str = "") -> Boot:
    with missing_tools_named():
        return load(image(folder, script), "", display=Display.TEXT, keys=keys)


def test_grub_says_what_it_says_on_seabios(tmp_path: Path) -> None:
    ours = start(tmp_path, SCRIPT)
    assert ours.run(max_insns=300_000_000).reason == "shutdown"  # through ACPI, whose anchor it finds in the ROM
    (tmp_path / "kernel").write_bytes(image(tmp_path, SCRIPT))
    with missing_tools_named():
        real = run(QemuBoot(kernel=tmp_path / "kernel"), tmp_path)
    assert real.ending is Ending.POWER_OFF
    told, judge = lines(ours.serial.decode()), lines(real.serial)
    assert told[:4] == judge[:4]  # hello, and the map up to 1 MiB
    assert [line for line in told if line.startswith("base_addr")] == [
        f"base_addr = {piece.start:#x}, length = {piece.size:#x}, {KINDS[piece.kind.value]} RAM"
        for piece in ours.bios.memory_map()
    ]
    assert told[-1] == "2016-04-07 03:33:20 Thursday"
    assert ours.bios.notes() == []
    # What it prints through int 10h is the same text.
    screen = lines("".join(ours.text))
    assert screen[0] == "Welcome to GRUB!"
    assert screen[1:] == told


KINDS = {1: "available", 2: "reserved", 3: "ACPI reclaimable", 4: "ACPI non-volatile storage"}


def test_its_prompt_takes_keys(tmp_path: Path) -> None:
    boot = start(tmp_path, "normal", keys="echo typed\nhalt\n")
    assert boot.run(max_insns=500_000_000).reason == "shutdown"
    screen = lines("".join(boot.text))
    assert "typed" in screen
    assert any(line.startswith("grub> ") for line in screen)


def test_nobody_at_its_prompt(tmp_path: Path) -> None:
    boot = start(tmp_path, "normal")
    assert boot.run(max_insns=500_000_000).reason == "halted"
    assert lines("".join(boot.text))[-1].startswith("grub>")
    assert len(boot.bios.calls) < 20_000
