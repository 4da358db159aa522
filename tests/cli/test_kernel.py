"""KERNEL on the command line: what it stands for, and how a download is told about."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.cli.kernel import find_image
from efishim.errors import ImageError, UsageError
from efishim.image import deb
from efishim.lab.progress import NoProgress
from efishim.plugins import load_plugins

REGISTRY = load_plugins()


class Phases(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def phase(self, text: str) -> None:
        self.said.append(text)


def test_nothing_is_the_probe_kernel() -> None:
    blob = find_image(None, NoProgress(), REGISTRY)
    assert blob.label == "embedded:probe"
    assert blob.read() == efishim_firmware_stubs.probe_kernel()


def test_a_path_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    blob = find_image(str(tmp_path / "x"), NoProgress(), REGISTRY)
    assert (blob.label, blob.sha256) == (str(tmp_path / "x"), hashlib.sha256(b"x").hexdigest())
    with pytest.raises(ImageError):
        find_image(str(tmp_path / "y"), NoProgress(), REGISTRY)


@pytest.mark.parametrize("reference", ["deb:", "deb:UPPER", "deb:a=", "deb:a/", "deb:a/../b"])
def test_references_that_are_none(reference: str) -> None:
    with pytest.raises(UsageError):
        find_image(reference, NoProgress(), REGISTRY)


def test_a_package_is_named_with_its_version_and_its_download_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vmlinuz").write_bytes(b"kernel")

    class Store:
        def fetch(self, reference: deb.DebReference, progress: Any) -> deb.Fetched:
            assert str(reference) == "deb:linux-image-cloud-amd64/boot/vmlinuz*"
            for done in (0, 1, 55, 59, 100):
                progress("downloading it", done, 100)
            progress("unpacking it", 5, 0)
            return deb.Fetched("linux-image-6.1", "6.1-1", tmp_path / "vmlinuz", ())

    monkeypatch.setattr(deb, "system_store", lambda cache, environment: Store())
    phases = Phases()
    blob = find_image("deb:linux-image-cloud-amd64/boot/vmlinuz*", phases, REGISTRY)
    assert blob.label == "deb:linux-image-6.1=6.1-1/boot/vmlinuz*"
    assert blob.read() == b"kernel"
    assert phases.said[1:] == ["downloading it, 0 %", "downloading it, 50 %", "downloading it, 100 %", "unpacking it"]
