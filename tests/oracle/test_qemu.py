"""How QEMU is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.lab.plan.plan import DEFAULT_EPOCH
from efishim.oracle.qemu import Boot, started

RESET_VECTOR = bytes.fromhex("ea5be000f0")
"""SeaBIOS's jump at 0xffff0: to 0xf000:0xe05b, as IBM's did."""


@pytest.mark.qemu
@pytest.mark.parametrize("name", ["bios-256k.bin", "bios.bin", "bios-microvm.bin", "kvmvapic.bin", "vgabios-stdvga.bin"])
def test_firmware_in_the_current_directory_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xf4" * (256 << 10))
    monkeypatch.chdir(tmp_path)
    with started(Boot(memory=64), timeout=60, epoch=DEFAULT_EPOCH) as qemu:
        assert qemu.gdb.read(0xFFFF0, 5) == RESET_VECTOR
