"""The class of tests that a provider's package derives from: what it reports, as pytest runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import efishim.testing

ROOT = Path(__file__).parents[2]

SUITE = """
from efishim_plugins.grub.provider import Grub
from efishim.provider import Entry
from efishim.testing import ProviderSuite
from tests.support.others import BrokenGrub, provider
from tests.support.tampering import segment

class Narrow(BrokenGrub):
    entries = (Entry("linux64", "", through_shim=False),)

class TestUnlisted(ProviderSuite):
    provider = provider(Narrow, entering=segment("cs", selector=8))

class TestListed(ProviderSuite):
    provider = provider(Narrow, entering=segment("cs", selector=8))
    deviations = {"linux64/selectors": "CS is 8 as in Firecracker"}

class TestStale(ProviderSuite):
    provider = provider(Narrow)
    deviations = {"linux64/selectors": "CS is 8 as in Firecracker"}
"""


@pytest.mark.slow
@pytest.mark.unmeasured
def test_deviations_are_expected_failures_and_stale_ones_fail(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-rxf", "-p", "no:cacheprovider", "-k", "specification or deviations", "."]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    said = done.stdout
    last = said.splitlines()[-1]
    assert last.startswith("2 failed, 3 passed, "), said + done.stderr
    assert "1 xfailed" in last
    unlisted, stale = (line for line in said.splitlines() if line.startswith("FAILED"))
    assert "TestUnlisted::test_specification[linux64]" in unlisted
    assert "TestStale::test_deviations" in stale
    for word in (
        "found: CS is 0x8",
        'specification: Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"',
        "known: CS is 8",
    ):
        assert word in said


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = efishim.testing.nothing
    assert all(getattr(efishim.testing, name) for name in efishim.testing.__all__)
