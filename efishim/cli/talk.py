"""Messages and progress on stderr: colours and a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from efishim.report.figures import amount
from efishim.report.plain import plain, plain_line

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.status import Status

    from efishim.lab.progress import Progress
    from efishim.lab.record import MilestonePoint

HEARTBEAT = 5.0
"""Seconds between signs of life where no line can be redrawn."""

PATIENCE = 1.0
"""A phase is worth a line when nothing was said for this many seconds."""


class Talk:
    """Where errors, warnings and progress go."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream = stream
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """A rich console on stderr; it leaves colours out where there is no terminal, or NO_COLOR is set."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self._stream or sys.stderr, highlight=False, soft_wrap=True)
        return self._console

    def error(self, sentence: str, hint: str = "") -> None:
        """One sentence, and what to do about it."""
        self._line("error", "bold red", sentence)
        if hint:
            self._line("hint", "cyan", hint)

    def warning(self, sentence: str) -> None:
        """Something that did not stop the work."""
        self._line("warning", "yellow", sentence)

    def line(self, text: str, style: str = "") -> None:
        """Anything else, as it is."""
        from rich.text import Text

        self.console.print(Text(plain_line(text), style=style))

    def lines(self, text: str) -> None:
        """Several lines, as they are."""
        from rich.text import Text

        self.console.print(Text(plain(text.rstrip())))

    def defect(self, report: str) -> None:
        """A traceback, which a user should never see."""
        self.lines(report)
        self.error("this is a defect of efishim", "please report it with what is printed above")

    @contextmanager
    def moving(self, text: str = "") -> Iterator[Status]:
        """A line that is redrawn, on a terminal; `moved` makes what it shows."""
        with self.console.status(moved(text)) as status:
            yield status

    def summary(self, text: str, verdict: str, *, good: bool) -> None:
        """What is said after a run, its verdict in green or red, apart from the console that came before."""
        self.line("")
        for line in text.splitlines():
            self.line(line, ("bold green" if good else "bold red") if line == verdict else "")

    def _line(self, word: str, style: str, text: str) -> None:
        from rich.text import Text

        self.console.print(Text.assemble((f"{word}: ", style), _one_line(text)))

    @contextmanager
    def progress(self, *, quiet: bool, moving: bool) -> Iterator[Progress]:
        """What a run reports to. `moving` allows a redrawn line: the guest's console must not share that terminal."""
        if quiet:
            from efishim.lab.progress import NoProgress

            yield NoProgress()
        elif moving and self.console.is_terminal:
            with self.moving() as status:
                yield MovingProgress(self, status)
        else:
            yield LineProgress(self)


class LineProgress:
    """Progress as plain lines: each milestone once, and a sign of life every few seconds."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._phase = ""
        self._told = time.monotonic()

    def phase(self, text: str) -> None:
        """A new phase began; quick ones go by unmentioned."""
        self._phase = text
        if time.monotonic() - self._told >= PATIENCE:
            self._say(text)

    def milestone(self, point: MilestonePoint) -> None:
        """A milestone was passed."""
        self._say(f"{point.name.value} after {amount(point.insns)} instructions, {point.seconds:.2f} s")

    def tick(self, insns: int, virtual_ns: int) -> None:
        """A sign of life, not too often."""
        if time.monotonic() - self._told >= HEARTBEAT:
            self._say(self._alive(insns, virtual_ns))

    def note(self, text: str) -> None:
        """Something the user should know."""
        self._say(f"note: {text}")

    def _alive(self, insns: int, virtual_ns: int) -> str:
        return f"{self._phase}: {amount(insns)} instructions, guest clock {virtual_ns / 1e9:.1f} s"

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        self._talk.line(f"efishim: {_one_line(text)}", "dim")


class MovingProgress(LineProgress):
    """Progress on a terminal that belongs to it: a line that is redrawn, milestones above it."""

    def __init__(self, talk: Talk, status: Status) -> None:
        super().__init__(talk)
        self._status = status

    def phase(self, text: str) -> None:
        """A new phase began."""
        self._phase = text
        self._status.update(moved(text))

    def tick(self, insns: int, virtual_ns: int) -> None:
        """Redraw the line."""
        self._status.update(moved(self._alive(insns, virtual_ns)))


def moved(text: str) -> RenderableType:
    """Text for a line that is redrawn: neither control characters nor rich's markup mean anything in it."""
    from rich.text import Text

    return Text(_one_line(text))


def _one_line(text: str) -> str:
    """No line breaks and no control characters: parts of messages come from hostile files."""
    return plain_line(" ".join(text.split()))
