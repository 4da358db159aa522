"""The tab key, as bash presses it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import rich_click as click

from efishim.cli.app import State, cli

EFISHIM = [sys.executable, "-c", "import sys; from efishim.cli import main; sys.exit(main())"]


def completed(line: str) -> list[str]:
    """What click's own protocol answers for a line whose last word is incomplete."""
    words = line.split(" ")
    environment = {"_EFISHIM_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    shown = subprocess.run(EFISHIM, capture_output=True, text=True, check=True, env=os.environ | environment)
    assert shown.stderr == ""
    return shown.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ("efishim ru", ["plain,run", "plain,rules"]),
        ("efishim run vml", ["file,vml"]),
        ("efishim run -i x", ["file,x"]),
        ("efishim run -p fi", ["plain,firmware"]),
        ("efishim run -p firmware -e ef", ["plain,efi", "plain,efi-handover", "plain,efi-mixed"]),
        ("efishim run --platform p", ["plain,pc", "plain,pc-qemu"]),
        ("efishim run --option shim.st", ["plain,shim.strict_nx="]),
        ("efishim run --option platform.hyper", ["plain,platform.hypervisor="]),
        ("efishim run -p nope --option shim.st", []),
        ("efishim run --until use", ["plain,userspace"]),
        ("efishim run --profile ov", ["plain,ovmf", "file,ov"]),
        ("efishim providers f", ["plain,firmware"]),
    ],
)
def test_completion(line: str, answers: list[str]) -> None:
    assert completed(line) == answers


def parameters() -> list[Any]:
    """Every parameter of every command that names a file or a folder."""
    context = click.Context(cli, obj=State())
    found = []

    def collect(group: click.Group, path: str) -> None:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            if isinstance(command, click.Group):
                collect(command, f"{path}{name} ")
            for param in command.params:
                told = f"{param.make_metavar(context)} {param.name}".upper()
                if any(word in told for word in ("FILE", "DIR", "KERNEL", "IMAGE", "RECORD_PATH")):
                    found.append(pytest.param(param, id=f"{path}{name} {param.name}"))

    collect(cli, "")
    return found


@pytest.mark.parametrize("param", parameters())
def test_the_name_of_a_file_is_not_empty(param: click.Parameter) -> None:
    context = click.Context(cli, obj=State())
    with pytest.raises(click.BadParameter, match="name of a file is empty"):
        param.type("", param, context)
