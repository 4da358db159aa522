"""The class of tests that a provider's package derives from: what it reports, as pytest runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

import efishim.testing

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


WITHOUT = ("cacheprovider", "cov", "xdist", "timeout", "terminal")


class Reports:
    """What came of each test."""

    def __init__(self) -> None:
        self.found: dict[str, pytest.TestReport] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each test is reported when it was set up, called and torn down; what counts is the call."""
        if report.when == "call":
            self.found[report.nodeid.partition("::")[2]] = report


@pytest.mark.slow
@pytest.mark.unmeasured
def test_deviations_are_expected_failures_and_stale_ones_fail(tmp_path: Path) -> None:
    (tmp_path / "test_kit_of_mine.py").write_text(SUITE)
    reports = Reports()
    arguments = [str(tmp_path), "-k", "specification or deviations", f"--rootdir={tmp_path}"]
    status = pytest.main([*arguments, *(word for name in WITHOUT for word in ("-p", f"no:{name}"))], plugins=[reports])
    assert status == pytest.ExitCode.TESTS_FAILED
    found = reports.found
    assert {name: one.outcome for name, one in found.items()} == {
        "TestUnlisted::test_specification[linux64]": "failed",
        "TestUnlisted::test_deviations": "passed",
        "TestListed::test_specification[linux64]": "skipped",  # as pytest calls an expected failure
        "TestListed::test_deviations": "passed",
        "TestStale::test_specification[linux64]": "passed",
        "TestStale::test_deviations": "failed",
    }
    unlisted = found["TestUnlisted::test_specification[linux64]"].longreprtext
    source = 'specification: Documentation/arch/x86/boot.rst, "64-bit Boot Protocol"'
    for word in ("linux64/selectors: CS is __BOOT_CS (0x10)", "found: CS is 0x8", source):
        assert word in unlisted
    assert "known: CS is 8 as in Firecracker" in found["TestListed::test_specification[linux64]"].wasxfail
    assert "linux64/selectors holds" in found["TestStale::test_deviations"].longreprtext


def test_what_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = efishim.testing.nothing
    assert all(getattr(efishim.testing, name) for name in efishim.testing.__all__)
