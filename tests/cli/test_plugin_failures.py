"""What a user sees of a plugin that fails: one sentence and exit status 3, and nobody else fails with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rich_click as click

from efishim.cli import main
from tests.support.others import BrokenHvmlite, install, provider, source


def key_error(*_: Any) -> Any:
    facts: dict[str, int] = {}
    return facts["acpi"]


def nothing(*_: Any) -> Any:
    return None


FAULTS = [
    (
        {"after": key_error},
        "the plugin vmm failed in BrokenHvmlite.produce: KeyError: 'acpi' (",
        "test_plugin_failures.py, line",
    ),
    ({"after": nothing}, "the plugin vmm is wrong in BrokenHvmlite.produce: it returned None instead of Handover (", "line"),
    ({"entering": key_error}, "the plugin vmm failed in BrokenHvmlite.cpu_state: KeyError: 'acpi' (", "line"),
    (
        {"entering": nothing},
        "the plugin vmm is wrong in BrokenHvmlite.cpu_state: it returned None instead of CpuState (",
        "line",
    ),
]


@pytest.mark.parametrize(("fault", "said", "where"), FAULTS)
def test_a_failure_is_one_sentence(
    fault: dict[str, Any], said: str, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, source(provider(BrokenHvmlite, **fault)))
    assert main(["run", "-q", "-p", "vmm", "-e", "pvh"]) == 3
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert line.startswith(f"error: {said}")
    assert where in line
    assert shown.out == ""


@pytest.mark.parametrize("words", [["--traceback", "run"], ["run", "--traceback"]])
def test_traceback_shows_the_rest(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(monkeypatch, source(provider(BrokenHvmlite, after=key_error)))
    assert main([*words, "-q", "-p", "vmm", "-e", "pvh"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert "in key_error" in err
    assert "defect of efishim" not in err


@pytest.mark.slow
def test_a_comparison_loses_that_route_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    install(monkeypatch, source(provider(BrokenHvmlite, entering=key_error)))
    kept = str(tmp_path / "records")
    routes = [word for route in ("vmm/pvh", "hvmlite/pvh", "multiboot/multiboot") for word in ("-r", route)]
    words = ["compare", *routes, "-j", "1", "-q", "--until", "entry", "--format", "json", "--records", kept]
    assert main(words) == 1
    told = json.loads(capsys.readouterr().out)
    (skipped,) = told["skipped"]
    assert "failed in BrokenHvmlite.cpu_state: KeyError" in skipped["reason"]
    assert skipped["failed"]
    assert len(list(Path(kept).iterdir())) == 2


@pytest.mark.slow
def test_a_property_that_fails_loses_its_provider_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = type("Broken", (BrokenHvmlite,), {"entries": property(key_error)})
    install(monkeypatch, source(provider(broken)))
    assert main(["run", "-q", "-p", "vmm"]) == 3
    assert "failed in Broken.entries" in capsys.readouterr().err
    assert main(["compare", "-j", "1", "-q", "--until", "entry", "--format", "json"]) == 1
    skipped = {one["route"]: one for one in json.loads(capsys.readouterr().out)["skipped"]}
    assert "failed in Broken.entries" in skipped["vmm"]["reason"]


def test_two_of_a_name_are_an_error_until_the_user_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = provider(BrokenHvmlite)
    theirs.name = "hvmlite"
    install(monkeypatch, source(theirs))
    assert main(["run", "-q", "-p", "hvmlite", "-e", "pvh"]) == 2
    assert "a-vmm:hvmlite or efishim:hvmlite" in capsys.readouterr().err
    for name in ("a-vmm:hvmlite", "efishim:hvmlite"):
        assert main(["run", "-q", "-p", name, "-e", "pvh", "--format", "json", "--until", "entry"]) == 0
        record = json.loads(capsys.readouterr().out)
        assert record["route"]["provider"] == name
        assert f"-p {name}" in record["reproduce"]
        plugins = record.get("plugins", [])
        assert [one["distribution"] for one in plugins] == (["a-vmm"] if name.startswith("a-vmm") else [])
    assert main(["--no-plugins", "run", "-q", "-p", "hvmlite", "-e", "pvh", "--until", "entry"]) == 0
    monkeypatch.setenv("EFISHIM_BLOCK_PLUGINS", "")
    assert main(["run", "--block-plugin", "vmm", "-q", "-p", "hvmlite", "-e", "pvh", "--until", "entry"]) == 0


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """--no-plugins is for this command only."""
    monkeypatch.setenv("EFISHIM_BLOCK_PLUGINS", "")


def test_a_command_of_a_plugin_fails_as_the_plugins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command("theirs")
    def theirs() -> None:
        key_error()

    install(monkeypatch, source(efishim_commands=lambda: [theirs]))
    assert main(["theirs"]) == 3
    err = capsys.readouterr().err
    assert "the plugin vmm failed in its command: KeyError: 'acpi' (" in err
    assert "defect" not in err
