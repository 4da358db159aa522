"""The wheel in an environment of its own: what it brings, and that nothing in the user's folder takes its place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installed import ROOT, Installed, blocks
from tests.test_docs import pattern

OURS = {"efishim", "efishim_plugins", "efishim_firmware_stubs"}

pytestmark = pytest.mark.slow


def test_every_name_that_is_imported_is_ours(installed: Installed) -> None:
    (record,) = installed.site.glob("efishim-*.dist-info/RECORD")
    files = [line.split(",")[0] for line in record.read_text().splitlines()]
    top = {file.split("/")[0] for file in files if not file.startswith("..")}
    assert top - {record.parent.name} == OURS
    assert not top & installed.before


def test_no_foreign_name_is_imported_and_the_packages_asked_for_are_required(installed: Installed) -> None:
    shown = installed.run("pip", "show", "efishim", cwd=installed.bin)
    (required,) = (line for line in shown.splitlines() if line.startswith("Requires:"))
    assert {"construct", "pefile", "pluggy", "unicorn"} <= set(required.removeprefix("Requires:").replace(",", " ").split())


def test_a_project_with_folders_of_our_folders_names_loses_nothing(installed: Installed, tmp_path: Path) -> None:
    for name in ("plugins", "firmware_stubs", "wire", "machine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('raise RuntimeError("this is the user\'s own")\n')
    for command in (["efishim"], ["python", "-m", "efishim"]):
        providers = json.loads(installed.run(*command, "providers", "--format", "json", cwd=tmp_path))
        assert {"hvmlite", "grub", "firmware"} <= {one["name"] for one in providers}
        platforms = json.loads(installed.run(*command, "platforms", "--format", "json", cwd=tmp_path))
        assert "pc" in {one["name"] for one in platforms}


def test_the_probe_kernel_runs_offline(installed: Installed, tmp_path: Path) -> None:
    assert "CPU" in installed.run("efishim", "doctor", cwd=tmp_path)
    assert installed.run("efishim", "run", "--quiet", "--timeout", "120", cwd=tmp_path)


@pytest.fixture
def alone(installed: Installed) -> Iterator[None]:
    """For tests that install something."""
    with installed.alone():
        yield


@pytest.mark.usefixtures("alone")
def test_a_new_plugin_is_installed_and_taken_away(installed: Installed, tmp_path: Path) -> None:
    """Built and installed as its README says, it runs; without it nothing of it remains."""
    installed.run("efishim", "new-plugin", "my-vmm", cwd=tmp_path)
    installed.run("pip", "install", "--quiet", "--no-deps", str(tmp_path / "efishim-my-vmm"), cwd=tmp_path)
    try:
        shown = installed.run("efishim", "run", "-q", "-p", "my-vmm", "--format", "json", "--until", "entry", cwd=tmp_path)
        record = json.loads(shown)
        assert record["outcome"]["met"]
        assert record["abi"] == []
        assert [one["distribution"] for one in record["plugins"]] == ["efishim-my-vmm"]
    finally:
        installed.run("pip", "uninstall", "--quiet", "--yes", "efishim-my-vmm", cwd=tmp_path)
    assert "my-vmm" not in installed.run("efishim", "plugins", cwd=tmp_path)
    assert not list(installed.site.glob("*my_vmm*"))


EXAMPLE = ROOT / "plugins" / "example"


def test_the_tutorial_builds_the_example() -> None:
    for block in blocks():
        if block.file:
            assert block.text == (EXAMPLE / block.file).read_text(), f"docs/tutorial-provider.md has another {block.file}"
    shown = {block.file for block in blocks()} - {""}
    kept = {str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*") if path.suffix in {".py", ".toml"}}
    assert shown == kept


@pytest.mark.unmeasured
@pytest.mark.usefixtures("alone")
def test_the_tutorial_followed_literally_gives_a_working_provider(installed: Installed, tmp_path: Path) -> None:
    """Files are written and commands are run in the order of the page; at its end nothing of the provider is left."""
    before = {path.name for path in installed.site.iterdir()}
    cwd = tmp_path
    for block in blocks()[1:]:
        if block.file:
            (cwd / block.file).write_text(block.text)
            continue
        for command, shown in block.commands:
            printed, cwd = installed.typed(command, cwd)
            assert pattern(shown).fullmatch(printed), f"{command}\nprinted:\n{printed}"
            if "pip install" in command:
                assert installed.run("python", "-c", WHERE, cwd=tmp_path) == f"{installed.site}\n"
    assert {path.name for path in installed.site.iterdir()} == before
    assert "firecracker" not in installed.run("efishim", "providers", cwd=tmp_path)


WHERE = "import efishim_firecracker, pathlib; print(pathlib.Path(efishim_firecracker.__file__).parents[1])"


@pytest.mark.unmeasured
def test_another_project_has_the_fixture_and_pays_nothing_without(installed: Installed, tmp_path: Path) -> None:
    example = (ROOT / "docs" / "examples" / "test_boots.py").read_text()
    (tmp_path / "test_boots.py").write_text(example)
    (tmp_path / "test_others.py").write_text(NOTHING_LOADED)
    alone = installed.run("pytest", "-q", "-p", "no:cacheprovider", "test_others.py", cwd=tmp_path)
    assert "1 passed" in alone
    shown = installed.run("pytest", "-q", "-p", "no:cacheprovider", "test_boots.py", cwd=tmp_path)
    assert "2 passed" in shown
    fixtures = installed.run("pytest", "-q", "-p", "no:cacheprovider", "--fixtures", cwd=tmp_path)
    assert "efishim [session scope]" in fixtures


NOTHING_LOADED = """
import sys

def test_nothing_of_the_emulator_is_loaded():
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"unicorn", "msgspec", "construct", "efishim_plugins"}
    assert {name for name in sys.modules if name.startswith("efishim")} <= {
        "efishim", "efishim.testing", "efishim.testing.pytest_plugin"
    }
"""
