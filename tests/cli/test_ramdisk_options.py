"""`-i` and `--no-initrd`, on the command line and in efishim.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import pytest

from efishim.cli.ramdisk_options import ramdisk_options


def given(words: list[str], file: Mapping[str, Any]) -> tuple[tuple[str, ...], bool]:
    """Both parameters, as a command gets them."""

    @click.command()
    @ramdisk_options
    def command(initrds: tuple[str, ...], no_initrd: bool) -> tuple[tuple[str, ...], bool]:
        return initrds, no_initrd

    found: tuple[tuple[str, ...], bool] = command.main(words, standalone_mode=False, default_map=file)
    return found


@pytest.mark.parametrize(
    ("words", "file", "holds"),
    [
        ([], {}, ((), False)),
        ([], {"initrds": ("a",)}, (("a",), False)),
        (["--no-initrd"], {"initrds": ("a",)}, ((), True)),
        (["-i", "b"], {"no_initrd": True}, (("b",), False)),
        (["-i", "b"], {"initrds": ("a",)}, (("b",), False)),
        (["-i", "b", "--no-initrd"], {}, (("b",), True)),
        ([], {"initrds": ("a",), "no_initrd": True}, (("a",), True)),
    ],
)
def test_the_command_line_goes_before_the_file_and_a_contradiction_at_one_place_stays(
    words: list[str], file: dict[str, Any], holds: tuple[tuple[str, ...], bool]
) -> None:
    assert given(words, file) == holds
