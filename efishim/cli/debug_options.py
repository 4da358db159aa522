"""Options of `run` that show the guest while it runs: gdb, breakpoints and traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import rich_click as click

from efishim.cli import complete
from efishim.errors import UsageError

if TYPE_CHECKING:
    from efishim.cli.talk import Talk
    from efishim.lab.debugger import DebugRequest

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
DEFAULT_PORT = "1234"
"""QEMU's, for -s."""


def debug_options(function: Decorated) -> Decorated:
    """Add the options; the command gets them as one `DebugWords`, called `debug`."""

    @wraps(function)  # it may have options already, which click keeps on it
    def together(*args: Any, gdb: str | None, default_gdb: bool, **words: Any) -> Any:
        names = ("wait", "breaks", "trace", "trace_file")
        given = {name: words.pop(name) for name in names}
        return function(*args, debug=DebugWords(gdb=gdb or (DEFAULT_PORT if default_gdb else None), **given), **words)

    decorated: Any = together
    for option in reversed(
        (
            click.option(
                "--gdb",
                metavar="[HOST:]PORT|SOCKET",
                help="Listen for gdb on a loopback port (0 picks a free one) or a Unix socket, given as a path with a slash.",
            ),
            click.option("-s", "default_gdb", is_flag=True, help=f"The same as --gdb {DEFAULT_PORT}."),
            click.option("-S", "wait", is_flag=True, help="Hold the guest at its first instruction until gdb continues it."),
            click.option(
                *("--break", "breaks"),
                metavar="SYMBOL|ADDRESS",
                multiple=True,
                help="Print registers and code on stderr at the first 20 hits; repeatable. With gdb attached, stop there.",
            ),
            click.option(
                "--trace",
                metavar="N|FROM..TO",
                help="Print N instructions, from the start or the first --break, or those between two symbols or addresses.",
            ),
            click.option("--trace-file", metavar="FILE", type=complete.FILE, help="Write the trace to FILE instead of stderr."),
        )
    ):
        decorated = option(decorated)
    result: Decorated = decorated
    return result


@dataclass(frozen=True)
class DebugWords:
    """What was given on the command line."""

    gdb: str | None
    wait: bool
    breaks: tuple[str, ...]
    trace: str | None
    trace_file: str | None

    @contextmanager
    def request(self, talk: Talk) -> Iterator[DebugRequest | None]:
        """What a run takes, None if nothing was asked for; what it opens is closed. Raises UsageError."""
        if self.wait and self.gdb is None:
            raise UsageError("-S waits for gdb, and there is no --gdb", hint="add -s, or --gdb PORT")
        if self.trace_file is not None and self.trace is None:
            raise UsageError("--trace-file needs a --trace")
        if self.gdb is None and not self.breaks and self.trace is None:
            yield None
            return
        from efishim.debug.link import Address, Listener
        from efishim.lab.debugger import DebugRequest
        from efishim.lab.stops import Place, Trace

        breaks = tuple(Place.parse(text) for text in self.breaks)
        trace = None if self.trace is None else Trace.parse(self.trace)
        address = None if self.gdb is None else Address.parse(self.gdb)
        with ExitStack() as stack:
            write: Callable[[str], object] = talk.line
            if self.trace_file is not None:
                try:
                    file = Path(self.trace_file).open("w", encoding="utf-8")  # noqa: SIM115 - the stack closes it
                except OSError as error:
                    raise UsageError(f"{self.trace_file} cannot be written: {error.strerror}") from error
                stack.callback(_close, file, self.trace_file)
                write = lambda line: file.write(f"{line}\n")  # noqa: E731 - one of two
            listener = None
            if address is not None:
                listener = Listener(address)
                stack.callback(listener.close)
            yield DebugRequest(talk.line, write, breaks, trace, listener, self.wait)


def _close(file: TextIO, name: str) -> None:
    try:
        file.close()
    except OSError as error:
        raise UsageError(f"{name} cannot be written: {error.strerror}") from error
