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
    ("efishim/lab/run.py", "import efishim_plugins.grub", "The core reaches plugins only through the entry-point group"),
    ("efishim_plugins/grub/provider.py", "import efishim.compare.pair", "A plugin imports what a plugin author imports"),
    ("efishim/lab/snapshot/guest_read.py", "import efishim.lab.observe.milestones", "Inside the lab"),
    ("efishim/firmware/calling/status.py", "import efishim.firmware.memory.pool", "Inside the firmware"),
    ("efishim/platform/devices/pit.py", "import efishim.platform.machines.pc", "Inside the platform"),
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


def test_the_rooms_are_as_they_should_be(copy: Path) -> None:
    done = lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr


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
