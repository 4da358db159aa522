"""The tab key, as bash presses it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

EFISHIM = [sys.executable, "-c", "import sys; from efishim.cli import main; sys.exit(main())"]


def completed(line: str) -> list[str]:
    """What click's own protocol answers for a line whose last word is incomplete."""
    words = line.split(" ")
    environment = {"_EFISHIM_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    shown = subprocess.run(EFISHIM, capture_output=True, text=True, check=True, env=os.environ | environment)
    assert shown.stderr == ""
    return shown.stdout.split()


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("efishim ru", ["plain,run"]),
        ("efishim run vml", ["file,vml"]),
        ("efishim run -i x", ["file,x"]),
        ("efishim run -p fi", ["plain,firmware"]),
        ("efishim run -p firmware -e ef", ["plain,efi", "plain,efi-handover", "plain,efi-mixed"]),
        ("efishim run --platform p", ["plain,pc", "plain,pc-qemu"]),
        ("efishim run --option shim.st", ["plain,shim.strict_nx="]),
        ("efishim run --option platform.hyper", ["plain,platform.hypervisor="]),
        ("efishim run -p nope --option shim.st", []),
        ("efishim run --until use", ["plain,userspace"]),
        ("efishim providers f", ["plain,firmware"]),
    ],
)
def test_completion(line: str, answers: list[str]) -> None:
    assert completed(line) == answers
