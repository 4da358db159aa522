"""The pytest plugin: options of the conformance kit. It imports nothing of efishim, since pytest loads it for every project."""

from __future__ import annotations

import pytest

KERNELS = "efishim_kernels"
"""Where the option is kept."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--efishim-kernel`."""
    group = parser.getgroup("efishim", "efishim's conformance kit")
    group.addoption(
        "--efishim-kernel",
        dest=KERNELS,
        metavar="KERNEL",
        action="append",
        default=[],
        help="a kernel that providers under test boot to userspace: a path or deb:PACKAGE; may be repeated",
    )
