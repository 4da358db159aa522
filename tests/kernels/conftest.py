"""Whole runs, each made once for all tests and all test workers that look at it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.kernels import DebianKernels, Flavour
from tests.support.runs import Finished, efishim_run

CMDLINE = "console=ttyS0 apic=verbose"
"""Nothing that a kernel would need in order to boot: `apic=verbose` only has it say what it found out about its timer.
What a bare `console=ttyS0` does is tested with the command line itself (tests/cli/test_end_to_end.py).
"""


@pytest.fixture(scope="session")
def booted(stock_kernel: Path, shared: Path) -> Finished:
    """Each of the five stock kernels, run to power-off with seed 0."""
    return efishim_run(shared / stock_kernel.name, stock_kernel, "-a", CMDLINE)


@pytest.fixture(scope="session")
def cloud_booted(cloud_kernel: Path, shared: Path) -> Finished:
    """The 6.1 kernel for clouds among them."""
    return efishim_run(shared / cloud_kernel.name, cloud_kernel, "-a", CMDLINE)


@pytest.fixture(scope="session")
def realtime_kernel(debian_kernels: DebianKernels, debian_kernel: Callable[[str], Path]) -> Path:
    """Debian's 6.1 kernel with PREEMPT_RT."""
    return debian_kernel(debian_kernels.package(Flavour.RT_6_1))
