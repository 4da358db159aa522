"""The software's name: it changes with a byte of the code, and foreign plugins are told by their files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from efishim.hookspecs import hookimpl
from efishim.lab.cache import software as module
from efishim.lab.cache.software import plugins, software
from efishim.plugins import Registry, load_plugins


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small packages in the place of efishim's and of Unicorn's."""
    for name in ("ours", "engine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("x = 1\n")
    (tmp_path / "engine" / "lib.so").write_bytes(b"machine code")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(module, "OURS", ("ours",))
    monkeypatch.setattr(module, "ENGINES", ("engine",))
    return tmp_path


def digest() -> str:
    software.cache_clear()
    try:
        found = software()
    finally:
        software.cache_clear()
    assert found is not None
    return found.digest


def test_each_byte_counts_and_what_is_not_run_does_not(packages: Path) -> None:
    before = digest()
    (packages / "ours" / "__pycache__").mkdir()
    (packages / "ours" / "__pycache__" / "x.pyc").write_bytes(b"compiled")
    (packages / "engine" / "lib.a").write_bytes(b"for linkers")
    assert digest() == before
    library = packages / "engine" / "lib.so"
    times = library.stat()
    library.write_bytes(b"machine cod3")
    os.utime(library, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = digest()
    assert after != before, "the same size and the same time, and another content"
    (packages / "ours" / "more.py").write_text("")
    assert digest() != after


@pytest.mark.parametrize(
    ("variable", "name", "stranger"),
    [("LIBUNICORN_PATH", "libunicorn.so.2", "libcapstone.so.5"), ("LIBCAPSTONE_PATH", "libcapstone.so.5", "libunicorn.so.2")],
)
def test_another_library_by_the_environment_counts(
    packages: Path, monkeypatch: pytest.MonkeyPatch, variable: str, name: str, stranger: str
) -> None:
    before = digest()
    monkeypatch.setenv(variable, str(packages))
    (packages / stranger).write_bytes(b"not loaded from here")
    assert digest() == before
    (packages / name).write_bytes(b"another build")
    assert digest() != before


def test_versions_of_other_libraries_count(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest()
    monkeypatch.setattr(module, "version", lambda _: "0")
    assert digest() != before


def test_code_that_was_edited_since_it_was_hashed_is_noticed(packages: Path) -> None:
    software.cache_clear()
    found = software()
    software.cache_clear()
    assert found is not None
    assert found.unchanged()
    (packages / "ours" / "__init__.py").write_text("x = 12\n")
    assert not found.unchanged()


def test_code_that_is_gone_is_changed(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    software.cache_clear()
    found = software()
    software.cache_clear()
    assert found is not None
    monkeypatch.setattr(module, "ENGINES", ("nobody_has_this",))
    assert not found.unchanged()


def test_software_that_cannot_be_found_has_no_name(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENGINES", ("nobody_has_this",))
    software.cache_clear()
    assert software() is None
    software.cache_clear()


class Observers:
    """A plugin with a hook for observers."""

    @hookimpl
    def efishim_observers(self) -> list[object]:
        return []


class Providers:
    """A plugin with another hook."""

    @hookimpl
    def efishim_providers(self) -> list[object]:
        return []


@dataclass(frozen=True)
class Distribution:
    """What is asked of importlib.metadata.Distribution."""

    name: str
    version: str


def registry(plugin: object, distribution: str, version: str = "1") -> Registry:
    dist = Distribution(distribution, version) if distribution else None
    return Registry([SimpleNamespace(name="mine", dist=dist, load=lambda: plugin)])


def test_efishims_own_plugins_can_be_named() -> None:
    assert plugins(load_plugins(), observers=True) is not None


def test_a_foreign_plugin_counts_with_name_and_version() -> None:
    names = [plugins(registry(Providers(), *one), observers=True) for one in (("a", "1"), ("a", "2"), ("b", "1"))]
    assert None not in names
    assert len({*names, plugins(Registry([]), observers=True)}) == 4


def test_a_plugin_that_no_package_brought_has_no_name() -> None:
    assert plugins(registry(Providers(), ""), observers=True) is None


def test_a_foreign_plugin_whose_files_cannot_be_had_has_no_name() -> None:
    made = ModuleType("made_up")
    made.efishim_providers = Providers().efishim_providers  # type: ignore[attr-defined]
    assert plugins(registry(made, "a"), observers=True) is None


def test_a_foreign_observer_wants_to_see_each_run() -> None:
    assert plugins(registry(Observers(), "a"), observers=True) is None
    assert plugins(registry(Observers(), "a"), observers=False) is not None
