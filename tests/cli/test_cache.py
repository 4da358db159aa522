"""`efishim cache`, and `--no-cache`: two runs of one plan, of which the second costs nothing and gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from efishim.cli import main

RUN = ("run", "-p", "hvmlite", "-e", "pvh", "--until", "entry")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the caches lie."""
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EFISHIM_CACHE_SIZE", "8M")
    return tmp_path / "cache"


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["cache", "--format", "json"]) == 0
    return {row["what"]: row for row in json.loads(capsys.readouterr().out)}


def test_a_second_run_is_read_and_gives_the_same_bytes(
    folder: Path, runs: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys)["records"] | {"folder": ""} == {
        "what": "records",
        "folder": "",
        "files": 0,
        "bytes": 0,
        "limit": 8 << 20,
    }
    for name in ("one", "two"):
        assert main([*RUN, "--record", str(tmp_path / name)]) == 0
    assert "--no-cache" in capsys.readouterr().err
    assert len(runs) == 1
    assert main([*RUN, "--record", str(tmp_path / "three"), "--no-cache"]) == 0
    assert len(runs) == 2
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()
    found = shown(capsys)
    assert found["records"]["files"] == 1
    assert 0 < found["records"]["bytes"] <= 8 << 20
    assert Path(found["records"]["folder"]).is_relative_to(folder)


def test_records_can_be_removed_and_others_stay(folder: Path, runs: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "-q"]) == 0
    before = shown(capsys)
    assert main(["cache", "clear"]) == 0
    assert "1 records" in capsys.readouterr().err
    after = shown(capsys)
    assert after["records"]["files"] == 0
    assert after["kernels"] == before["kernels"]
    assert main([*RUN, "-q"]) == 0
    assert len(runs) == 2


def test_none_is_kept_where_none_is_wanted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EFISHIM_CACHE_SIZE", "0")
    assert main([*RUN, "-q"]) == 0
    assert not (folder / "records").exists()
    monkeypatch.setenv("EFISHIM_CACHE_SIZE", "much")
    assert main([*RUN, "-q"]) == 2
    assert "EFISHIM_CACHE_SIZE" in capsys.readouterr().err


def test_people_read_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache"]) == 0
    out = capsys.readouterr().out
    assert "8M" in out
    assert str(folder / "records") in out
