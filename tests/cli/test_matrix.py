"""`efishim matrix`: a folder of records that is gone on with, and a table over kernels, routes and platforms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.cli import fill as fill_module
from efishim.cli import main
from efishim.lab.record import decode

WORDS = (
    "-j",
    "1",
    "-q",
    "--until",
    "entry",
    "-r",
    "hvmlite/pvh",
    "-r",
    "grub/linux64@pc",
    "--platform",
    "pc",
    "--platform",
    "hvmlite",
)


def matrix(folder: Path, capsys: pytest.CaptureFixture[str], *more: str, status: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["matrix", *WORDS, "-o", str(folder), "--format", "json", *more]) == status
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


@pytest.mark.slow
@pytest.mark.measured
def test_a_folder_is_filled_and_gone_on_with(tmp_path: Path, runs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "matrix"
    first = matrix(folder, capsys)
    assert [(row["route"], row["reached"], row["good"]) for row in first] == [
        ("hvmlite/pvh@pc", "entry", True),
        ("grub/linux64@pc", "entry", True),
        ("hvmlite/pvh@hvmlite", "entry", True),
    ]
    assert len(runs) == 3
    files = sorted(folder.rglob("*-*-*.json"))
    assert [path.name for path in files] == ["grub-linux64-pc.json", "hvmlite-pvh-hvmlite.json", "hvmlite-pvh-pc.json"]
    assert all(decode(path.read_bytes()).outcome.met for path in files)
    assert "| grub/linux64@pc | entry |" in (folder / "matrix.md").read_text()
    before = {path: path.read_bytes() for path in files}
    assert matrix(folder, capsys) == first
    assert len(runs) == 3, "all was there"
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes().replace(b'"insns"', b'"insn5"', 1))
    files[2].write_bytes(files[2].read_bytes().replace(b'"seed": 0', b'"seed": 1', 1))
    assert matrix(folder, capsys) == first
    assert len(runs) == 6, "what is missing, damaged or of something else is made again"
    assert {path: path.read_bytes() for path in files} == before
    assert matrix(folder, capsys, "--seed", "1") != []
    assert len(runs) == 9, "other runs"


@pytest.mark.slow
@pytest.mark.measured
def test_an_index_that_is_none_costs_only_time(tmp_path: Path, runs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("matrix", "-j", "1", "-q", "--until", "entry", "-r", "hvmlite/pvh", "-o", str(tmp_path / "m"))
    assert main(list(words)) == 0
    (tmp_path / "m" / "matrix.json").write_bytes(b"[" * 100_000)
    assert main(list(words)) == 0
    assert len(runs) == 2
    assert "hvmlite/pvh@pc" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.measured
def test_a_run_that_falls_short_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["matrix", "-j", "1", "-q", "-r", "subarch/linux64", "-r", "hvmlite/pvh", "-o", str(tmp_path / "m")]
    assert main([*words, "--format", "markdown", "--until", "userspace", "--max-insns", "1000"]) == 1
    out = capsys.readouterr().out
    assert "insn limit after entry" in out


def test_the_same_kernel_twice_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names.append(str(tmp_path / folder / "kernel"))
        Path(names[-1]).write_bytes(efishim_firmware_stubs.probe_kernel())
    assert main(["matrix", *names, *WORDS, "-o", str(tmp_path / "m")]) == 2
    assert "the same file" in capsys.readouterr().err


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[fill_module.Wanted]:
    """What is to be filled; nothing is."""
    found: list[fill_module.Wanted] = []

    def nothing(_state: Any, wanted: fill_module.Wanted, _folder: Any) -> fill_module.Filled:
        found.append(wanted)
        return fill_module.Filled([], [], 0, 0)

    monkeypatch.setattr(fill_module, "fill", nothing)
    return found


def test_a_matrix_has_the_projects_kernels_and_platform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: list[fill_module.Wanted]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["matrix", "-q", "mine"]) == 0
    (tmp_path / "efishim.toml").write_text('[kernels]\nmine = "build/bzImage"\n[options]\nplatform = "hvmlite"\n')
    assert main(["matrix", "-q", "mine", "other"]) == 0
    monkeypatch.setenv("EFISHIM_PLATFORM", "machine")
    assert main(["matrix", "-q"]) == 0
    assert main(["matrix", "-q", "--platform", "a", "--platform", "b"]) == 0
    assert [one.platforms for one in wanted] == [("pc",), ("hvmlite",), ("machine",), ("a", "b")]
    assert [one.kernels for one in wanted] == [("mine",), (str(tmp_path / "build/bzImage"), "other"), (), ()]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["matrix", *WORDS, "-o", str(tmp_path / "file" / "m")]) == 3
    assert "cannot be made" in capsys.readouterr().err
