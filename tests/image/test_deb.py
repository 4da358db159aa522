"""`deb:` references: parsing, meta-packages, the cache. Apt is played by an object with packages of the test."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from efishim.errors import ImageError, UsageError
from efishim.image.apt import Apt, Package, Progress
from efishim.image.deb import DebReference, DebStore, parse_reference
from tests.support.images import build_deb

KERNEL = b"kernel" * 1000


class Archive(Apt):
    """An apt whose packages are made here: name to (version, depends, files)."""

    def __init__(self, packages: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, bytes]]], log: Path) -> None:
        super().__init__({})
        self._packages = packages
        self._log = log

    def show(self, name: str, version: str = "") -> Package:
        if name not in self._packages or version not in {"", self._packages[name][0]}:
            raise ImageError(f"apt knows no package {name}")
        known, depends, files = self._packages[name]
        return Package(name, known, "amd64", name, depends, 0, hashlib.sha256(build_deb(files)).hexdigest())

    def download(self, package: Package, directory: Path, progress: Progress) -> Path:
        with self._log.open("a") as stream:
            stream.write(f"{package.name}\n")
        progress(f"downloading {package.name}", 1, 2)
        path = directory / "package.deb"
        path.write_bytes(build_deb(self._packages[package.name][2]))
        return path


PACKAGES: dict[str, tuple[str, tuple[str, ...], Mapping[str, bytes]]] = {
    "linux-image-cloud-amd64": ("6.1.1", ("linux-image-6.1.0-1", "libc6"), {"./usr/share/doc/x": b""}),
    "linux-image-6.1.0-1": (
        "1:6.1.1~rc",
        ("kmod",),
        {"./boot/System.map-6.1": b"map", "./boot/config-6.1": b"config", "./boot/vmlinuz-6.1": KERNEL},
    ),
    "linux-image-7.3": ("7.3", ("linux-base", "linux-modules-7.3", "linux-binary-7.3"), {}),
    "linux-base": ("4", (), {"./usr/bin/linux-version": b"#!"}),
    "linux-modules-7.3": ("7.3", (), {"./usr/lib/modules/7.3/System.map": b"map", "./usr/lib/modules/7.3/config": b"y"}),
    "linux-binary-7.3": ("7.3", (), {"./usr/lib/modules/7.3/vmlinuz": KERNEL}),
    "xen-hypervisor": ("4.17", (), {"./boot/xen-4.17.efi": b"efi", "./boot/xen-4.17.gz": b"gz", "./boot/xen.config": b""}),
    "libc6": ("2.36", (), {"./lib/libc.so": b"code"}),
    "linux-loop-a": ("1", ("linux-loop-b",), {}),
    "linux-loop-b": ("1", ("linux-loop-a", "linux-virtual"), {}),
}


@pytest.fixture
def store(tmp_path: Path) -> DebStore:
    state = tmp_path / "lists"
    state.mkdir()
    return DebStore(tmp_path / "cache", Archive(PACKAGES, tmp_path / "log"), apt_state=[str(state)])


def downloads(tmp_path: Path) -> list[str]:
    log = tmp_path / "log"
    return log.read_text().split() if log.exists() else []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("deb:linux-image-amd64", DebReference("linux-image-amd64")),
        ("deb:memtest86+", DebReference("memtest86+")),
        ("deb:linux-image=6.1.1-1~deb12u1", DebReference("linux-image", "6.1.1-1~deb12u1")),
        ("deb:xen/boot/xen-4.17.efi", DebReference("xen", "", "boot/xen-4.17.efi")),
        ("deb:xen=2:4/boot/*.gz", DebReference("xen", "2:4", "boot/*.gz")),
    ],
)
def test_references(text: str, expected: DebReference) -> None:
    assert parse_reference(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    "text",
    [
        *("deb:", "deb:X", "deb:-o", "deb:--help", "linux", "deb:a b", "deb:a/", "deb:aa=", "deb:aa=1 2"),
        *("deb:aa/../b", "deb:../x", "deb:aa;ls", "deb:aa\nbb"),
    ],
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)


def test_a_meta_package_is_followed(store: DebStore, tmp_path: Path) -> None:
    steps: list[str] = []
    fetched = store.fetch(parse_reference("deb:linux-image-cloud-amd64"), lambda what, *_: steps.append(what))
    assert (fetched.package, fetched.version) == ("linux-image-6.1.0-1", "1:6.1.1~rc")
    assert fetched.path.read_bytes() == KERNEL
    assert [path.name for path in fetched.companions] == ["System.map-6.1", "config-6.1"]
    assert downloads(tmp_path) == ["linux-image-cloud-amd64", "linux-image-6.1.0-1"]
    assert "downloading linux-image-6.1.0-1" in steps


def test_a_kernel_may_lie_with_its_modules(store: DebStore, tmp_path: Path) -> None:
    """In a package of its own, which is looked into before that of the modules."""
    fetched = store.fetch(parse_reference("deb:linux-image-7.3"))
    assert (fetched.package, fetched.path.read_bytes()) == ("linux-binary-7.3", KERNEL)
    assert downloads(tmp_path) == ["linux-image-7.3", "linux-binary-7.3"]


def test_a_second_time_asks_nobody(store: DebStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = parse_reference("deb:linux-image-cloud-amd64")
    first = store.fetch(reference)

    def fail(*_: object) -> Package:
        raise AssertionError("apt was asked again")

    monkeypatch.setattr(Archive, "show", fail)
    assert store.fetch(reference) == first
    assert len(downloads(tmp_path)) == 2


def test_new_package_lists_are_looked_into(store: DebStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = parse_reference("deb:linux-image-cloud-amd64")
    old = store.fetch(reference)
    newer = {**PACKAGES, "linux-image-6.1.0-1": ("6.1.2", (), {"./boot/vmlinuz-6.1.2": b"newer"})}
    monkeypatch.setattr(store, "_apt", Archive(newer, tmp_path / "log"))
    assert store.fetch(reference) == old
    os.utime(tmp_path / "lists", (1, 1))  # what apt-get update does
    assert store.fetch(reference).path.read_bytes() == b"newer"
    assert old.path.read_bytes() == KERNEL


@pytest.mark.parametrize("damage", ["changed", "removed", "manifest"])
def test_damaged_files_are_fetched_again(store: DebStore, tmp_path: Path, damage: str) -> None:
    reference = parse_reference("deb:linux-image-6.1.0-1")
    path = store.fetch(reference).path
    if damage == "changed":
        path.write_bytes(b"k" + KERNEL[1:-1] + b"!")
    elif damage == "removed":
        path.unlink()
    else:
        (path.parents[1] / "manifest.json").write_text("{")
    again = store.fetch(reference)
    assert again.path.read_bytes() == KERNEL
    assert downloads(tmp_path) == ["linux-image-6.1.0-1"] * 2


def test_a_file_is_chosen_by_name(store: DebStore) -> None:
    assert store.fetch(parse_reference("deb:xen-hypervisor")).path.name == "xen-4.17.gz"
    assert store.fetch(parse_reference("deb:xen-hypervisor/boot/xen-4.17.efi")).path.read_bytes() == b"efi"
    with pytest.raises(ImageError, match=r"names 2 files: boot/xen-4\.17\.efi, boot/xen-4\.17\.gz"):
        store.fetch(parse_reference("deb:xen-hypervisor/boot/xen-*"))
    with pytest.raises(ImageError, match="holds no such file"):
        store.fetch(parse_reference("deb:xen-hypervisor/boot/vmlinuz"))


def test_a_package_without_kernel(store: DebStore) -> None:
    with pytest.raises(ImageError, match="deb:libc6 holds no kernel") as caught:
        store.fetch(parse_reference("deb:libc6"))
    assert "looked into libc6" in caught.value.hint
    with pytest.raises(ImageError, match="no kernel") as caught:
        store.fetch(parse_reference("deb:linux-loop-a"))
    assert "linux-loop-a, linux-loop-b;" in caught.value.hint


def test_unknown_packages_and_versions(store: DebStore) -> None:
    for text in ("deb:nothing", "deb:libc6=9"):
        with pytest.raises(ImageError, match="apt knows no package"):
            store.fetch(parse_reference(text))


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    store = DebStore(blocked, Archive(PACKAGES, tmp_path / "log"))
    with pytest.raises(ImageError, match="cannot be written") as caught:
        store.fetch(parse_reference("deb:libc6"))
    assert "EFISHIM_CACHE" in caught.value.hint


def test_a_failed_download_leaves_nothing_behind(tmp_path: Path) -> None:
    class Failing(Archive):
        def download(self, package: Package, directory: Path, progress: Progress) -> Path:
            (directory / "part.deb").write_bytes(b"half")
            raise ImageError("the network is gone")

    store = DebStore(tmp_path / "cache", Failing(PACKAGES, tmp_path / "log"))
    with pytest.raises(ImageError, match="network"):
        store.fetch(parse_reference("deb:libc6"))
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def _fetch_in_process(arguments: tuple[str, str]) -> str:
    cache, log = arguments
    store = DebStore(Path(cache), Archive(PACKAGES, Path(log)))
    return str(store.fetch(parse_reference("deb:linux-image-6.1.0-1")).path)


@pytest.mark.slow
def test_processes_at_once_download_once(tmp_path: Path) -> None:
    arguments = (str(tmp_path / "cache"), str(tmp_path / "log"))
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        paths = pool.map(_fetch_in_process, [arguments] * 8)
    assert len(set(paths)) == 1
    assert downloads(tmp_path) == ["linux-image-6.1.0-1"]
