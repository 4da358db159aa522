"""`efishim study` as a user runs it, with the probe kernel: a control that is no Linux, does not join other ways, and follows
the pointer of hardware_subarch_data.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from efishim_firmware_stubs import reporting_initrd

PROGRAM = "import sys; from efishim.cli import main; sys.exit(main())"


def study(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it."""
    command = [sys.executable, "-c", PROGRAM, "study", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, env=os.environ | {"NO_COLOR": "1"})


@pytest.mark.slow
def test_the_probe_kernel_as_a_control(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.md"
    words = ("--no-surface", "--records", str(tmp_path / "records"))
    done = study(*words, "-o", str(first))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "runs" in done.stderr
    document = json.loads(first.read_text())
    told = {one["key"]: one["verdict"] for row in document["rows"] for one in row["statements"]}
    assert told["same-code"] == "refuted"
    assert told["creates-bootparams"] == "refuted"
    assert told["custom-data-pointer"] == "supported"
    assert told["emulate-in-hypervisor"] == "not tested here"
    assert told["os-agnostic"] == "not tested here"
    assert told["same-behind-guest-shim"] == "refuted", "the probe asks for more than the firmware in the guest has"
    assert told["only-zero-page"] == "not tested here", "the probe does not come to where other ways meet"
    assert document["failures"] == []
    again = study(*words, "-q", "--format", "json")
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.read_text(), "kept records give the same document"
    assert again.stderr == ""
    markdown = study(*words, "-q", "-o", str(second))
    assert markdown.returncode == 0
    assert second.read_text().startswith("# The thread's question")


@pytest.mark.slow
def test_the_ramdisks_of_the_commands(tmp_path: Path) -> None:
    done = study("--ramdisks", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "study-first.cpio").read_bytes() == reporting_initrd()
    assert b"second" in (tmp_path / "new" / "study-second.cpio").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("nowhere",), 4, "does not exist"),
        (("--surface", "nowhere.json"), 2, "nowhere.json does not exist"),
        (("-o", "/nowhere/study.md"), 2, "does not exist"),
        (("--other", "nowhere"), 4, "does not exist"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(words: tuple[str, ...], status: int, said: str) -> None:
    done = study(*words)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
