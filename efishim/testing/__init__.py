"""Test kit for plugin authors: guest memory without an emulator, a provider checker, and complete runs in a test.

from efishim.testing import check_provider, run

def test_mine():
    assert check_provider(Mine()) == []

def test_boots():
    assert run(provider="mine", until="entry").outcome.met
"""

from __future__ import annotations

from efishim.testing.memory import Ram, facts
from efishim.testing.provider import check_provider
from efishim.testing.run import run

__all__ = ["Ram", "check_provider", "facts", "run"]
