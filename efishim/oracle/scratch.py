"""Folders for the time of one boot. What a killed process left is removed by the next one."""

from __future__ import annotations

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from efishim.temporary import folder

PREFIX = "efishim-oracle-"


def scratch() -> AbstractContextManager[Path]:
    """A folder that is empty except for its lock."""
    return folder(PREFIX, Path(tempfile.gettempdir()))
