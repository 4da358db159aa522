"""Fixtures of the platform's tests."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.platform.iasl import IASL


@pytest.fixture
def iasl(tmp_path: Path) -> IASL:
    """ACPICA's iasl. Where CI runs it has to be there; elsewhere its absence skips the test and says what to install."""
    program = shutil.which("iasl")
    if program is None:
        message = "iasl is not installed: apt-get install acpica-tools"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return IASL(program, tmp_path)
