"""The class of tests that a provider's package derives from: what it reports, as pytest runs it."""

from __future__ import annotations

from pathlib import Path

import efishim_firmware_stubs
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


KERNELS = """
from tests.testing.test_thirty_ways import WAYS, subject
from efishim.testing import ProviderSuite

class TestWhole(ProviderSuite):
    provider = subject(next(way for way in WAYS if way.rule == "provider/command-line")).provider

class TestHalting(ProviderSuite):
    provider = subject(next(way for way in WAYS if way.rule == "provider/probe")).provider
"""


class Reports:
    """What came of each test."""

    def __init__(self) -> None:
        self.found: dict[str, pytest.TestReport] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Each test is reported when it was set up, called and torn down; what counts is the call."""
        if report.when == "call":
            self.found[report.nodeid.partition("::")[2]] = report


def results(file: Path, suites: str, *arguments: str) -> dict[str, pytest.TestReport]:
    """What came of the tests of a package whose suites these are."""
    file.write_text(suites)
    reports = Reports()
    less = [word for name in WITHOUT for word in ("-p", f"no:{name}")]
    pytest.main([str(file), f"--rootdir={file.parent}", "--import-mode=importlib", *arguments, *less], plugins=[reports])
    return reports.found


@pytest.mark.slow
@pytest.mark.unmeasured
def test_kernels_are_booted_that_the_command_line_names(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.write_bytes(efishim_firmware_stubs.probe_kernel())
    found = results(tmp_path / "test_kernels_of_mine.py", KERNELS, "-k", "real_kernel", "--efishim-kernel", str(kernel))
    name = f"test_real_kernel[pvh-{kernel}]"
    assert {one: report.outcome for one, report in found.items()} == {
        f"TestWhole::{name}": "passed",
        f"TestHalting::{name}": "failed",
    }
    said = found[f"TestHalting::{name}"].longreprtext
    assert "provider/userspace: A real kernel reaches userspace" in said
    assert "halted for ever" in said


@pytest.mark.slow
@pytest.mark.unmeasured
def test_deviations_are_expected_failures_and_stale_ones_fail(tmp_path: Path) -> None:
    found = results(tmp_path / "test_kit_of_mine.py", SUITE, "-k", "specification or deviations")
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
