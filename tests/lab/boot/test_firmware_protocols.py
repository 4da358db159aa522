"""Firmware protocols of plugins: one that fails is named, the others are installed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from efishim.lab.boot.firmware_protocols import install_protocols


def fail(*_: Any) -> Any:
    raise RuntimeError("two\nlines")


def test_protocols_are_installed_and_failures_named() -> None:
    installed: list[Any] = []
    good = SimpleNamespace(name="good", install=installed.append)
    bad = SimpleNamespace(name="bad", install=fail)
    assert install_protocols([bad, good], "shim") == ["the firmware protocol bad failed: RuntimeError: two lines"]
    assert installed == ["shim"]
