"""Test kit for plugin authors: guest memory without an emulator, complete runs in a test, and the conformance kit.

from efishim.testing import ProviderSuite, run

class TestMine(ProviderSuite):  # all of it: structure, specification, read-back, hostile values, probe kernel
    provider = Mine()

def test_boots():
    assert run(provider="mine", until="entry").outcome.met
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from efishim.testing.kit import conformance
    from efishim.testing.memory import Ram, facts
    from efishim.testing.provider import check_provider
    from efishim.testing.running import run
    from efishim.testing.subject import Subject
    from efishim.testing.suite import ProviderSuite

__all__ = ["ProviderSuite", "Ram", "Subject", "check_provider", "conformance", "facts", "run"]

_WHERE = {
    "ProviderSuite": "suite",
    "Ram": "memory",
    "Subject": "subject",
    "check_provider": "provider",
    "conformance": "kit",
    "facts": "memory",
    "run": "running",
}


def __getattr__(name: str) -> Any:
    """Imported when used: pytest loads the plugin of this package for every project, and only the suite needs pytest."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
