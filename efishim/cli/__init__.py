"""The commands. `main` is the console script; it imports the rest when it is called."""

from __future__ import annotations

from collections.abc import Sequence

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells give it: 128 and SIGINT."""


def main(args: Sequence[str] | None = None) -> int:
    """Run a command line and give its exit status; prints whatever there is to print."""
    try:
        from efishim.cli.app import run_command_line

        return run_command_line(args)
    except KeyboardInterrupt:
        return INTERRUPTED
