"""A record's kernel is looked for on this machine, and believed only if it is the same file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_kernel

from efishim.compare.kernels import kernel_of
from efishim.lab.record import Image, Record
from tests.records import a_record


def of(path: str, data: bytes, sha256: str = "") -> Record:
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return a_record(image=Image(path=path, sha256=digest, size=len(data), format="bzImage", version="", entries=[]))


def test_a_file_that_is_gone_or_another_one_is_no_kernel(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    assert kernel_of(of(str(path), b"gone")) is None
    path.write_bytes(b"other")
    assert kernel_of(of(str(path), b"other", "0" * 64)) is None
    assert kernel_of(of(str(tmp_path), b"a folder")) is None
    assert kernel_of(of("embedded:probe", b"")) is None


def test_an_image_without_symbols_is_no_kernel(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    path.write_bytes(probe_kernel())
    assert kernel_of(of(str(path), probe_kernel())) is None


def test_nothing_is_fetched_for_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")  # no apt
    for name in ("deb:nothing-of-the-kind=1.0", "deb:nothing-of-the-kind", "deb:../../etc"):
        assert kernel_of(of(name, b"")) is None
    assert list(tmp_path.iterdir()) == []
