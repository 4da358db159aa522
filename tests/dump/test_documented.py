"""docs/check-a-dump.md: its format, its program and its script do what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from efishim.dump.described import NUMBERS
from efishim.dump.opened import open_dump
from efishim.image.entries import Entry
from efishim.lab.abi.of_dump import check_dump
from efishim.lab.boot.guest_shim import open_guest_shim
from efishim.oracle import tools
from tests.conftest import OFFLINE

PAGE = (Path(__file__).parents[2] / "docs" / "check-a-dump.md").read_text()


def block(language: str) -> str:
    """The one block of the page in a language."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def test_the_format_of_the_page_is_read(tmp_path: Path) -> None:
    with (tmp_path / "ram").open("wb") as stream:
        stream.truncate(512 << 20)
    (tmp_path / "vm.toml").write_text(block("toml"))
    dump = open_dump(tmp_path / "vm.toml")
    assert (dump.entry, dump.registers["efer"], dump.registers["cs.flags"]) == ("linux64", 0x500, 0xA0_9B00)
    comment = next(line for line in block("toml").splitlines() if line.startswith("[registers]"))
    for name in NUMBERS:
        assert name in comment or re.fullmatch(r"r..?|r1[0-5]", name), name


def test_the_program_of_the_page_writes_a_dump_without_fault(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", block("python")], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = check_dump(open_dump(tmp_path / "vm.toml"), Entry.PVH)
    assert found.violations == ()
    assert len(found.checked) > 15


@pytest.mark.qemu
@pytest.mark.slow
def test_the_script_of_the_page_stops_qemu_at_an_entry(tmp_path: Path) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed, and the script uses it")
    if shutil.which(tools.QEMU) is None and os.environ.get(OFFLINE) == "1":
        pytest.skip(f"{tools.QEMU} is not installed")
    image = open_guest_shim()
    (tmp_path / "kernel").write_bytes(image.data)
    (tmp_path / "script").write_text(block("bash"))
    words = ["bash", "script", "kernel", f"{image.kernel.pvh_entry:#x}", "core"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = check_dump(open_dump(tmp_path / "core"), Entry.PVH, image).violations
    (tmp_path / "core").unlink()
    assert [one.rule for one in found] == ["pvh/tr"]
