"""Folders for one boot: they go with it, and when it was killed, with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from efishim.lab.plan.plan import DEFAULT_EPOCH
from efishim.oracle.qemu import Boot, Firmware, started
from efishim.oracle.scratch import PREFIX, scratch


@pytest.fixture(params=["plain", "a,b", "a,,b=c", "a:b", "a b%s"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for temporary files of any name."""
    folder = tmp_path / str(request.param)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_folder_goes_with_its_boot(place: Path) -> None:
    with scratch() as folder:
        assert folder.parent == place
        (folder / "file").write_bytes(b"x")
    assert list(place.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(place: Path) -> None:
    code = (
        "import os, sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from efishim.oracle.scratch import scratch\n"
        "with scratch() as folder: (folder / 'x').mkdir(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(place)], check=False)
    assert len(list(place.glob(f"{PREFIX}*"))) == 1
    with scratch() as one, scratch() as other:
        assert {path.name for path in place.iterdir()} == {one.name, other.name}, "folders in use stay"


def test_what_is_not_ours_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{PREFIX}no-lock").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "lock").touch()
    (tmp_path / f"{PREFIX}link").symlink_to("other")
    with scratch():
        pass
    assert sorted(os.listdir(tmp_path)) == [f"{PREFIX}link", f"{PREFIX}no-lock", "other"]


@pytest.mark.qemu
def test_qemu_takes_files_from_there(place: Path, tmp_path: Path) -> None:
    """Each kind of -drive: OVMF's variables, a CD, a folder seen as a disk. A comma would begin another of its options."""
    disc, disk = place / "disc", place / "disk"
    disc.write_bytes(bytes(1 << 20))
    disk.mkdir()
    (disk / "file").write_bytes(b"x")
    for boot in (
        Boot(memory=64, cdrom=disc),
        Boot(memory=64, fat=disk),
        Boot(memory=64, firmware=Firmware.OVMF),
    ):
        with started(boot, timeout=60, epoch=DEFAULT_EPOCH) as qemu:
            assert qemu.process.poll() is None
