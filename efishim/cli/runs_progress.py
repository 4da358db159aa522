"""Progress of several runs for the commands: lines that are redrawn on a terminal, lines elsewhere, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from efishim.report.figures import amount
from efishim.report.plain import plain_line

if TYPE_CHECKING:
    from efishim.cli.talk import Talk
    from efishim.lab.plan.plan import Plan
    from efishim.lab.record import MilestonePoint, Record
    from efishim.lab.running import MatrixProgress, Result


def route_name(plan: Plan) -> str:
    """PROVIDER/ENTRY@PLATFORM."""
    return f"{plan.route}@{plan.platform}"


@contextmanager
def shown_progress(talk: Talk, names: list[str], *, quiet: bool) -> Iterator[MatrixProgress]:
    """Progress of runs with these names: lines that are redrawn on a terminal, lines elsewhere."""
    if quiet:
        yield Silent()
    elif talk.console.is_terminal:
        from rich.live import Live

        lines = Lines(names)
        with Live(get_renderable=lines.table, console=talk.console, refresh_per_second=5, transient=True):
            yield lines
    else:
        yield Plain(talk, names)


class Silent:
    """Says nothing."""

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """Nothing."""

    def tick(self, index: int, insns: int, rate: float) -> None:
        """Nothing."""

    def finished(self, index: int, result: Result) -> None:
        """Nothing."""


class Plain(Silent):
    """Where no line can be redrawn: one line for each milestone of each run."""

    def __init__(self, talk: Talk, names: list[str]) -> None:
        self._talk = talk
        self._names = names

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """A line."""
        self._talk.line(f"{self._names[index]}: {point.name.value} after {amount(point.insns)} instructions", "dim")

    def finished(self, index: int, result: Result) -> None:
        """A line."""
        if result.failure is not None:
            self._talk.line(f"{self._names[index]}: {result.failure.sentence}", "dim")
        elif result.record is not None:
            self._talk.line(f"{self._names[index]}: ended with {_ended(result.record, result)}", "dim")


def _ended(record: Record, result: Result) -> str:
    reason = record.outcome.reason.value
    return f"{reason}, made before" if result.cached else f"{reason} in {record.outcome.seconds:.1f} s"


@dataclass
class _Line:
    milestone: str = ""
    insns: int = 0
    rate: float = 0.0
    end: str = ""


class Lines(Silent):
    """On a terminal: a line for each route, redrawn."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._lines = [_Line() for _ in names]

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """Redrawn with the next refresh."""
        self._lines[index].milestone, self._lines[index].insns = point.name.value, point.insns

    def tick(self, index: int, insns: int, rate: float) -> None:
        """Redrawn with the next refresh."""
        self._lines[index].insns, self._lines[index].rate = insns, rate

    def finished(self, index: int, result: Result) -> None:
        """The line stays as it is."""
        line = self._lines[index]
        if result.record is not None:
            line.end = _ended(result.record, result)
            line.insns = result.record.outcome.insns
        elif result.failure is not None:
            line.end = result.failure.sentence

    def table(self) -> Any:
        """The lines as they are now."""
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for name, line in zip(self._names, self._lines, strict=True):
            rate = f"{amount(int(line.rate))} a second" if line.rate and not line.end else line.end
            waiting = not line.milestone and not line.end
            cells = (name, "waiting" if waiting else line.milestone, amount(line.insns) if line.insns else "", rate)
            grid.add_row(*(Text(plain_line(cell), style="dim" if waiting else "") for cell in cells))
        return grid
