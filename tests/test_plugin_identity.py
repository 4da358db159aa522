"""The hash by which a record names a plugin: its files and nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from efishim.plugin_identity import Identity, distribution_of, module_of, sha256_of


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hashed_plugin"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "provider.py").write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.startswith("hashed_plugin")]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def test_every_file_of_the_package_counts_and_nothing_that_python_made(package: Path) -> None:
    plugin = importlib.import_module("hashed_plugin.provider")
    first = sha256_of(plugin)
    assert len(first) == 64
    (package / "__pycache__").mkdir(exist_ok=True)
    (package / "__pycache__" / "x.pyc").write_bytes(b"made")
    assert sha256_of(plugin) == first
    (package / "data.bin").write_bytes(b"\0")
    second = sha256_of(plugin)
    (package / "provider.py").write_text("X = 2\n")
    assert len({first, second, sha256_of(plugin)}) == 3


def test_a_plugin_of_one_file_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "single_plugin.py").write_text("X = 1\n")
    (tmp_path / "beside.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "single_plugin", raising=False)
    plugin = importlib.import_module("single_plugin")
    first = sha256_of(plugin)
    (tmp_path / "beside.py").write_text("Y = 1\n")
    assert sha256_of(plugin) == first
    (tmp_path / "single_plugin.py").write_text("X = 2\n")
    assert sha256_of(plugin) != first


def test_files_that_are_gone_have_no_hash(package: Path) -> None:
    plugin = importlib.import_module("hashed_plugin")
    (package / "__init__.py").rename(package / "other.py")
    (package / "__init__.py").symlink_to(package / "nowhere")
    assert sha256_of(plugin) != ""
    monkey = SimpleNamespace()
    assert module_of(monkey) == "types"


def test_only_what_another_package_brought_is_foreign() -> None:
    assert Identity("a", "their-package", "1", "").foreign
    assert not Identity("a", "efishim", "1", "").foreign
    assert not Identity("a", "", "", "").foreign
    assert distribution_of(SimpleNamespace(name="x")) == ("", "")
