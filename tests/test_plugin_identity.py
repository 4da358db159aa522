"""The hash by which a record names a plugin: its files and nothing else."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from efishim import plugin_identity
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


@pytest.fixture
def namespace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two portions of a namespace package, as two distributions install them."""
    for portion, name in (("one", "mine"), ("two", "helper")):
        (tmp_path / portion / "hashed_space" / name).mkdir(parents=True)
        (tmp_path / portion / "hashed_space" / name / "code.py").write_text("X = 1\n")
        monkeypatch.syspath_prepend(tmp_path / portion)
    for name in [name for name in sys.modules if name.startswith("hashed_space")]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize(
    "changed", ["one/hashed_space/mine/code.py", "one/hashed_space/new.py", "two/hashed_space/helper/code.py"]
)
def test_every_portion_of_a_namespace_package_counts(namespace: Path, changed: str) -> None:
    """A plugin imports from each of them, so a change of any may be one of what it does."""
    plugin = importlib.import_module("hashed_space.mine.code")
    first = sha256_of(plugin)
    assert len(first) == 64
    (namespace / "one" / "beside.py").write_text("")
    assert sha256_of(plugin) == first, "what lies beside the namespace is not in it"
    (namespace / changed).write_text("X = 2\n")
    assert len(sha256_of(plugin)) == 64
    assert sha256_of(plugin) != first


def test_a_module_that_is_in_no_portion_has_no_hash(namespace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = importlib.import_module("hashed_space.mine.code")
    monkeypatch.setattr(plugin, "__file__", str(namespace / "elsewhere.py"))
    assert sha256_of(plugin) == ""


def test_more_files_than_are_looked_at_have_no_hash(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash of some of them would be the same for another package."""
    plugin = importlib.import_module("hashed_plugin")
    monkeypatch.setattr(plugin_identity, "FILE_LIMIT", 2)
    assert len(sha256_of(plugin)) == 64
    (package / "third.py").write_text("")
    assert sha256_of(plugin) == ""


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
