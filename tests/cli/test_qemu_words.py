"""Options in QEMU's spelling."""

from __future__ import annotations

import pytest

from efishim.cli import main
from efishim.cli.qemu_words import OTHERS, translated
from efishim.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("-append quiet", "--append quiet"),
        ("-append=quiet", "--append=quiet"),
        ("-kernel vmlinuz -initrd i -append x", "vmlinuz --initrd i --append x"),
        ("-kernel=vmlinuz", "vmlinuz"),
        ("vmlinuz -a quiet -m 1G -s -S", "vmlinuz -a quiet -m 1G -s -S"),
        ("-- -append", "-- -append"),
        ("-a -append x", "-a -append x"),
        ("-append -initrd -initrd x", "--append -initrd --initrd x"),
        ("--append -nographic", "--append -nographic"),
    ],
)
def test_what_efishim_has_too_is_understood(typed: str, wanted: str) -> None:
    assert translated(typed.split()) == wanted.split()


@pytest.mark.parametrize("option", OTHERS)
def test_the_rest_is_refused_with_a_hint(option: str) -> None:
    with pytest.raises(UsageError, match=option) as refused:
        translated(["vmlinuz", option, "x"])
    assert refused.value.hint


def test_the_command_line_goes_to_the_guest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "-q", "--until", "entry", "--format", "json", "-append=quiet"]) == 0
    assert '"cmdline": "quiet"' in capsys.readouterr().out


def test_commands_that_boot_nothing_take_their_words_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["providers", "-nographic"]) == 2
    assert "QEMU" not in capsys.readouterr().err
