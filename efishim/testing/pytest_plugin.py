"""The pytest plugin: the fixture `efishim`, and options of the conformance kit.

It imports nothing of efishim, since pytest loads it for every project.
"""

from __future__ import annotations

from types import ModuleType

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


@pytest.fixture(name="efishim", scope="session")
def _efishim() -> ModuleType:
    """The library: `efishim.run(kernel, route=...)` gives a record, `efishim.diff(...)` a comparison (docs/library.md)."""
    import efishim  # noqa: PLC0415 - a project whose tests do not use it pays nothing

    return efishim
