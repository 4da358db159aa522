"""Where results go: looked at before the work."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from efishim.cli import main
from efishim.cli.outputs import check_directory, check_writable
from efishim.errors import UsageError

NOWHERE = "/nonexistent/x"


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "-r", "hvmlite/pvh", "-r", "hvmlite/efi", "-o", NOWHERE],
        ["compare", "-r", "hvmlite/pvh", "-r", "hvmlite/efi", "--records", "/dev/null/x"],
        ["baseline", "save", "-o", "/dev/null/x"],
        ["baseline", "check", ".", "-o", NOWHERE],
        ["surface", "-o", NOWHERE],
        ["study", "-o", NOWHERE],
    ],
)
def test_no_run_begins_when_its_result_has_no_place(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "instructions" not in capsys.readouterr().err


def test_good_places_pass(tmp_path: Path) -> None:
    check_writable("-")
    check_writable(str(tmp_path / "new"))
    check_directory(str(tmp_path / "a" / "b"))
    with pytest.raises(UsageError):
        check_writable(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError):
        check_directory(str(tmp_path / "file"))


def test_a_dash_is_standard_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "-q", "--until", "entry", "--record", "-"]) == 0
    record = capfd.readouterr().out
    assert main(["run", "-q", "--until", "entry", "--format", "json"]) == 0
    assert json.loads(record)["route"] == json.loads(capfd.readouterr().out)["route"]
    assert main(["run", "--until", "entry", "--record", "-", "--format", "json"]) == 2
    assert main(["run", "--record", "-", "--save-profile", "-"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", [check_writable, check_directory])
def test_a_place_that_cannot_be_asked_about_is_one_sentence(
    check: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="too long"):
        check(str(tmp_path / ("x" * 300)))

    def unsearchable(_: Path) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "exists", unsearchable)
    with pytest.raises(UsageError, match="x cannot be written: Permission denied"):
        check(str(tmp_path / "x"))
