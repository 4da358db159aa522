"""The command line. `main` is the console script; it imports the commands on demand."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it: 128 and SIGINT."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and give its exit status; prints whatever there is to print."""
    # No module is taken from the current directory, neither by this process nor by one that it starts.
    sys.path[:] = [folder for folder in sys.path if folder]
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        from efishim.cli.app import run_command_line

        return run_command_line(args)
    except KeyboardInterrupt:
        return INTERRUPTED
