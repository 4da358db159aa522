"""The shim on a fake board."""

from __future__ import annotations

import pytest

from tests.firmware.lab import Lab


@pytest.fixture
def lab() -> Lab:
    """A shim with default choices over 64 MiB."""
    return Lab()
