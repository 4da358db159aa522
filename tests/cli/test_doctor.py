"""`efishim doctor`: what is missing is named with its package; only what every run needs makes it fail."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from efishim.cli import doctor, main
from efishim.machine import selftest, softtlb


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A self-test that passes at once; the real one has tests of its own."""
    monkeypatch.setattr(selftest, "run_selftest", lambda: [("page fault", True, "SDM")])


def findings(capsys: pytest.CaptureFixture[str], status: int) -> dict[str, tuple[str, str]]:
    assert main(["doctor", "--format", "json"]) == status
    return {one["what"]: (one["state"], one["detail"]) for one in json.loads(capsys.readouterr().out)}


@pytest.mark.slow
def test_a_good_installation(capsys: pytest.CaptureFixture[str]) -> None:
    found = findings(capsys, 0)
    assert found["unicorn"] == ("ok", version("unicorn"))
    assert not [what for what, (state, _) in found.items() if state == "FAILED"]
    assert len([what for what in found if what.startswith("cpu: ")]) >= 10
    assert not {"pytest", "ruff"} & found.keys(), "what only developers need is not asked for"


@pytest.mark.usefixtures("quick")
def test_missing_programs_are_no_failure_and_name_their_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    found = findings(capsys, 0)
    for program, package, _ in doctor.PROGRAMS:
        state, detail = found[program]
        assert state == "missing"
        assert f"apt-get install {package}" in detail


@pytest.mark.usefixtures("quick")
def test_a_missing_library_is_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> str:
        if name == "unicorn":
            raise PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(doctor, "version", gone)
    assert findings(capsys, 3)["unicorn"][0] == "FAILED"


def test_a_processor_that_fails_its_test_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selftest, "run_selftest", lambda: [("page fault", False, "no fault came")])
    assert findings(capsys, 3)["cpu: page fault"] == ("FAILED", "no fault came")
    assert main(["doctor"]) == 3
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.usefixtures("quick")
def test_a_build_without_a_shortcut_is_slower_and_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    speed = {what: state for what, (state, _) in findings(capsys, 0).items() if what.startswith("speed: ")}
    assert speed["speed: fast stores"] == speed["speed: no checks"] == "ok"
    monkeypatch.setattr(softtlb, "FILL_OFFSET", softtlb.FILL_OFFSET + 16)
    state, detail = findings(capsys, 0)["speed: fast stores"]
    assert state == "off"
    assert "slower" in detail
    assert "tlb_fill" in detail


@pytest.mark.usefixtures("quick")
def test_the_cache_of_records_and_what_extras_bring_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path))
    monkeypatch.setenv("EFISHIM_CACHE_SIZE", "2M")
    found = findings(capsys, 0)
    assert found["records"][0] == "ok"
    assert "at most 2M" in found["records"][1]
    assert {"distributed", "pyarrow"} <= found.keys()
    monkeypatch.setenv("EFISHIM_CACHE_SIZE", "0")
    assert findings(capsys, 0)["records"][0] == "off"
    monkeypatch.setenv("EFISHIM_CACHE_SIZE", "much")
    assert findings(capsys, 3)["records"][0] == "FAILED"
    monkeypatch.setenv("EFISHIM_CACHE_SIZE", "2M")
    (tmp_path / "records" / "1").mkdir(parents=True)
    (tmp_path / "records" / "1").chmod(0o777)
    assert findings(capsys, 0)["records"][0] == "off"
