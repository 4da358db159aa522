"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import coverage
import hypothesis
import pytest

from efishim.errors import EfishimError
from efishim.image.cachedir import cache_directory
from efishim.lab import run as run_module
from efishim.lab.plan.plan import Plan
from tests.support.installed import Installed, made_once
from tests.support.kernels import DebianKernels, Flavour

OFFLINE = "EFISHIM_OFFLINE"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The plans that are really run from here on, and not found in a cache."""
    made: list[Any] = []
    real = run_module.run_plan

    def counted(plan: Plan, **words: Any) -> Any:
        made.append(plan)
        return real(plan, **words)

    monkeypatch.setattr(run_module, "run_plan", counted)
    return made


@pytest.fixture(scope="session")
def debian_kernels() -> DebianKernels:
    """The kernels that Debian's archive has now, in the cache of the user who runs the tests."""
    return DebianKernels(cache_directory(os.environ), os.environ)


@pytest.fixture(scope="session")
def debian_kernel(debian_kernels: DebianKernels) -> Callable[[str], Path]:
    """A function from the name of a package to the image in it, such as a kernel or a hypervisor; also with
    `/boot/FILE` behind it. A test fails when apt cannot deliver it, unless EFISHIM_OFFLINE=1 is set.
    """

    def fetch(package: str) -> Path:
        return _delivered(package, lambda: debian_kernels.fetch(package))

    return fetch


@pytest.fixture(scope="session", params=list(Flavour), ids=str)
def stock_kernel(request: pytest.FixtureRequest, debian_kernels: DebianKernels) -> Path:
    """Each of the five stock kernels in turn."""
    flavour: Flavour = request.param
    return _delivered(flavour, lambda: debian_kernels.kernel(flavour))


@pytest.fixture(scope="session")
def cloud_kernel(debian_kernels: DebianKernels) -> Path:
    """Debian's 6.1 kernel for clouds: the smallest download and the quickest boot."""
    return _delivered(Flavour.CLOUD_6_1, lambda: debian_kernels.kernel(Flavour.CLOUD_6_1))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run have in common."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "runs"


@pytest.fixture(scope="session")
def installed(shared: Path) -> Installed:
    """A fresh environment with efishim's wheel, one for all workers of a run."""
    return made_once(shared / "installed")


def _delivered(what: str, fetch: Callable[[], Path]) -> Path:
    try:
        return fetch()
    except EfishimError as error:
        if os.environ.get(OFFLINE) == "1":
            pytest.skip(f"{OFFLINE}=1 and {what} is not in the cache: {error.sentence}")
        pytest.fail(f"{what} cannot be had: {error.sentence} ({error.hint}). Set {OFFLINE}=1 to skip such tests.")


hypothesis.settings.register_profile(
    "efishim", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("efishim")
# The same examples each time, whatever hypothesis finds out about CI, and no bound in the host's time.


def pytest_configure() -> None:
    """Let signals through to the programs that tests start: a shell that runs the tests in the background ignores Ctrl-C for
    all, and nohup(1) the end of the terminal. And let no test find a record of another's run.
    """
    os.environ["EFISHIM_CACHE_SIZE"] = "0"  # a test that boots something is there to see it boot
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


UNMEASURED = frozenset({"kernel", "qemu", "slow", "unmeasured"})
"""Marks of tests that run without the measurement of coverage, which makes them up to four times as long: they take the same
paths thousands of times, and which code is tested is for the tests of that code to show. So what is measured is what
`make quick` runs, and a few slow tests that are the only ones of their code (`measured`)."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """pytest-cov's mark `no_cover` is about the body of a test; this is about its fixtures too, where kernels are booted. One
    measurement may have been started within another, which goes on when the inner one stops.
    """
    stopped: list[coverage.Coverage] = []
    marks = {mark.name for mark in item.iter_markers()}
    if "measured" not in marks and not UNMEASURED.isdisjoint(marks):
        while (measured := coverage.Coverage.current()) is not None:
            measured.stop()
            stopped.append(measured)
    result = yield
    for measured in reversed(stopped):
        measured.start()
    return result


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a test after an argument of bytes by the argument's name, never by the bytes: a compressor may put the time
    into them, and parallel workers that collected in different seconds would then disagree on the tests' names."""
    return argname if isinstance(val, bytes) else None


def pytest_report_header() -> str:
    """Say in every log whether the tests may skip what they cannot fetch."""
    return f"efishim: {'offline, kernels only from the cache' if os.environ.get(OFFLINE) == '1' else 'kernels from apt'}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the versions of the packages that this run used, and how long the comparison with real firmware took."""
    versions = DebianKernels.versions_used
    if versions:
        terminalreporter.write_line("Debian packages used: " + ", ".join(sorted(versions)))
    reports = [report for found in terminalreporter.stats.values() for report in found]
    spent = sum(
        getattr(report, "duration", 0.0) for report in reports if getattr(report, "nodeid", "").startswith("tests/oracle/")
    )
    if spent >= 1:
        terminalreporter.write_line(f"against real firmware: {spent:.0f} s")
