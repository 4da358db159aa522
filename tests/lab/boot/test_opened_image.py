"""One image for runs that follow each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.errors import ImageError
from efishim.lab.boot.opened_image import opened
from efishim.lab.plan.plan import Blob


def test_an_image_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "kernel"
    file.write_bytes(efishim_firmware_stubs.probe_kernel())
    blob = Blob.from_file(file)
    first = opened(blob)
    assert opened(Blob.from_file(file)) is first
    named = opened(replace(blob, label="another name"))
    assert named is not first
    assert named.path == "another name"
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path / "other"))
    assert opened(replace(blob, label="another name")) is not named


def test_what_changed_is_not_opened_and_what_was_is_let_go(tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(efishim_firmware_stubs.probe_kernel())
    blob = Blob.from_file(file)
    other = Blob.embedded("other", efishim_firmware_stubs.probe_kernel() + b"\0")
    opened(other)
    file.write_bytes(b"something else")
    for _ in range(2):
        with pytest.raises(ImageError, match="changed since the plan was made"):
            opened(blob)
    assert opened(other).sha256 == other.sha256
