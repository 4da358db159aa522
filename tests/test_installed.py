"""The wheel in an environment of its own: what it brings, and that nothing in the user's folder takes its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"efishim", "efishim_plugins", "efishim_firmware_stubs"}

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """An environment that has efishim, and what its site-packages had before."""

    bin: Path
    site: Path
    before: frozenset[str]

    def run(self, *command: str, cwd: Path) -> str:
        """What a command prints, run from a folder as a user would."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=True)
    binaries = folder / "venv" / "bin"
    site = folder / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    wheel = [str(binaries / "pip"), "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder / "wheels"), str(ROOT)]
    subprocess.run(wheel, check=True, capture_output=True)
    before = frozenset(path.name for path in site.iterdir())
    (file,) = (folder / "wheels").glob("efishim-*.whl")
    subprocess.run([str(binaries / "pip"), "install", "--quiet", str(file)], check=True, capture_output=True)
    return Installed(binaries, site, before)


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


def test_a_new_plugin_is_installed_and_taken_away(installed: Installed, tmp_path: Path) -> None:
    """Built and installed as its README says, it runs; without it nothing of it remains."""
    installed.run("efishim", "new-plugin", "my-vmm", cwd=tmp_path)
    installed.run("pip", "install", "--quiet", "--no-deps", str(tmp_path / "efishim-my-vmm"), cwd=tmp_path)
    try:
        (mine,) = json.loads(installed.run("efishim", "providers", "my-vmm", "--format", "json", cwd=tmp_path))
        assert mine["entries"][0]["name"] == "efi"
        shown = installed.run("efishim", "run", "-q", "-p", "my-vmm", "--format", "json", "--until", "entry", cwd=tmp_path)
        record = json.loads(shown)
        assert record["outcome"]["met"]
        assert record["abi"] == []
        assert [one["distribution"] for one in record["plugins"]] == ["efishim-my-vmm"]
    finally:
        installed.run("pip", "uninstall", "--quiet", "--yes", "efishim-my-vmm", cwd=tmp_path)
    assert "my-vmm" not in installed.run("efishim", "plugins", cwd=tmp_path)
    assert not list(installed.site.glob("*my_vmm*"))
