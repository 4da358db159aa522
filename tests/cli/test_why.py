"""`efishim why` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efishim.cli.app import run_command_line
from efishim.cli.why import FORMATS
from efishim.report import whys
from tests.why import told


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("why") / "told.elf"
    path.write_bytes(told.image())
    return str(path)


def test_formats_are_those_of_the_reports() -> None:
    assert tuple(whys.renderers()) == FORMATS == whys.FORMATS


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ([], 2, "why needs a kernel and two routes"),
        (["hvmlite/efi", "nothing/pvh"], 2, "nothing"),
        (["no-such-kernel", "hvmlite/efi", "hvmlite/pvh"], 4, "no-such-kernel"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["why", *words]) == status
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_way_against_itself_differs_in_nothing(kernel: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "why.json"
    words = ["why", kernel, "hvmlite/pvh", "hvmlite/pvh", "-m", "64M", "-q", "-j", "1"]
    assert run_command_line([*words, "--format", "json", "-o", str(output)]) == 0
    found = json.loads(output.read_text())
    assert found["items"] == found["effects"] == []
    assert [check["same"] for check in found["sanity"]] == [True, True]
    assert "nokaslr" not in capsys.readouterr().out
    assert run_command_line([*words, "--of", "code:nothing"]) == 2
    assert "there is no difference code:nothing" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--with", "efi_info"], "is no item of a route"),
        (["--with", "efi_info@hvmlite/pvh"], "the two routes do not differ in 'efi_info'"),
        (["--with", "efi_info@hvmlite/pvh", "--until", "startup_64"], "the routes converge at startup_64"),
        (["--with", "a@hvmlite/pvh", "--with", "b@hvmlite/efi"], "come from one route"),
    ],
)
def test_what_cannot_be_taken_over(kernel: str, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["run", kernel, "-r", "hvmlite/pvh", "-m", "64M", "-q", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def record(kernel: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "one.json"
    run_command_line(["run", kernel, "-r", "hvmlite/pvh", "-m", "64M", "-q", "--no-observers", "--record", str(path)])
    return path


@pytest.mark.slow
def test_the_runs_of_two_records_are_repeated(record: Path, tmp_path: Path) -> None:
    output = tmp_path / "why.json"
    assert run_command_line(["why", str(record), str(record), "-q", "-j", "1", "--format", "json", "-o", str(output)]) == 0
    assert json.loads(output.read_text())["routes"] == ["hvmlite/pvh@pc", "hvmlite/pvh@pc"]


def with_item(record: dict[str, Any]) -> None:
    record["reproduce"] += " --with e820@hvmlite/efi"


def other_ramdisk(record: dict[str, Any]) -> None:
    record["options"]["initrds"][0]["sha256"] = "0" * 64


def no_command(record: dict[str, Any]) -> None:
    record["reproduce"] = "it's gone"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_item, "it differs in --with"),
        (other_ramdisk, "it differs in initrds"),
        (no_command, "it differs in its command"),
    ],
)
def test_a_run_that_cannot_be_repeated_is_not_taken_for_another_one(
    record: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(record.read_text())
    change(content)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    assert run_command_line(["why", str(record), str(changed), "-q"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
