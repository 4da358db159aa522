"""The import directions: what `.importlinter` forbids is really refused, and no file grows without a reason."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {"efishim": ROOT, "efishim_plugins": ROOT / "plugins", "efishim_firmware_stubs": ROOT / "firmware_stubs"}

WRONG = [
    # (file, what somebody adds to it, the contract that must break)
    ("efishim/wire/guids.py", "import efishim.image.pe", "Layouts have no logic"),
    ("efishim/machine/memory.py", "import efishim.lab.run", "A room imports only the rooms above it"),
    ("efishim/lab/run.py", "import unicorn", "Only the machine imports unicorn"),
    ("efishim/image/elf.py", "import construct", "Only the layouts import construct"),
    ("efishim/lab/run.py", "import efishim_plugins.grub", "The core reaches plugins only through the entry-point group"),
    ("efishim_plugins/grub/provider.py", "import efishim.compare.pair", "A plugin imports what a plugin author imports"),
    ("efishim/lab/snapshot/guest_read.py", "import efishim.lab.observe.milestones", "Inside the lab"),
    ("efishim/firmware/calling/status.py", "import efishim.firmware.memory.pool", "Inside the firmware"),
    ("efishim/platform/devices/pit.py", "import efishim.platform.machines.pc", "Inside the platform"),
    ("efishim/dump/core.py", "import efishim.lab.run", "A room imports only the rooms above it"),
    ("efishim/bios/clock.py", "import efishim.bios.bios", "No room goes round in a circle"),
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources in a folder of their own."""
    folder = tmp_path_factory.mktemp("rooms")
    for name, parent in SOURCES.items():
        shutil.copytree(parent / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.bin", "*.elf"))
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {program}", "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_rooms_are_as_they_should_be(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line", "contract"), WRONG, ids=[one[0] for one in WRONG])
def test_a_wrong_import_is_refused(copy: Path, file: str, line: str, contract: str) -> None:
    path = copy / file
    before = path.read_text()
    path.write_text(f"{before}\n{line}\n")
    try:
        done = lint(copy)
    finally:
        path.write_text(before)
    assert done.returncode == 1
    (broken,) = (row for row in done.stdout.splitlines() if "BROKEN" in row and contract in row)
    assert broken


LONG = {
    # file: why it is longer than LONGEST lines
    "efishim/machine/machine.py": "The run loop, and the board that devices see: both change the state of one run.",
    "efishim/wire/bootparams.py": "One declaration: the 185 fields of boot_params, with the section of each.",
    "efishim/oracle/faults.py": "A table: each fault with its cause and its specification.",
    "efishim/oracle/faulty.py": "The same fault on QEMU and in efishim: the two halves mirror each other line by line.",
    "efishim/image/pe.py": "What pefile does not check: sections, entry point and relocations, each with its sentence.",
}
LONGEST = 400


def test_no_file_is_long_without_a_reason() -> None:
    lines = {
        f"{name}/{path.relative_to(parent / name)}": len(path.read_text().splitlines())
        for name, parent in SOURCES.items()
        for path in (parent / name).rglob("*.py")
    }
    assert {file for file, count in lines.items() if count > LONGEST} == set(LONG)
