"""`efishim compare DUMP ROUTE` and `--from DUMP`: how a dump differs from the reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from efishim.cli import main
from tests.support.cores import Core, stopped


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe kernel at GRUB's entry, with a register that GRUB leaves otherwise."""
    folder = tmp_path_factory.mktemp("core")
    return Core(stopped("grub", "linux32").with_registers(rdx=0x1234)).write(folder / "core")


@pytest.mark.slow
def test_a_dump_and_a_route_are_compared_field_by_field(core: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--until", "entry", "-j", "1", "-q", "--format", "json", "-a", "console=ttyS0 told"]
    assert main(["compare", str(core), "grub/linux32", *words]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert "entry.cpu.rdx" in json.dumps(shown)
    assert "entry.cpu.rcx" not in json.dumps(shown)
    assert main(["compare", "--from", str(core), *words, "-e", "linux32"]) == 1
    assert json.loads(capsys.readouterr().out) == shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--all"], "--all has no meaning with a dump"),
        (["-r", "nobody/pvh"], "there is no provider 'nobody'"),
        (["-e", "door"], "no image has an entry called 'door'"),
    ],
)
def test_what_has_no_meaning_is_refused(
    words: list[str], sentence: str, core: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--from", str(core), *words]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_an_entry_belongs_to_a_dump_and_a_file_is_no_route(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "-e", "pvh"]) == 2
    assert "--entry has no meaning without a dump" in " ".join(capsys.readouterr().err.split())
    assert main(["compare", "one", "two/three"]) == 2
    assert "two kernels are compared on routes that you name" in " ".join(capsys.readouterr().err.split())
