"""The table of a matrix: routes and platforms down, kernels across, and the last milestone in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from efishim.lab.record import Record
from efishim.report.plain import plain_line


@dataclass(frozen=True, slots=True)
class Cell:
    """One run, or why there is none."""

    kernel: str
    route: str
    """PROVIDER/ENTRY@PLATFORM."""
    record: Record | None = None
    reason: str = ""
    """Without a record."""
    failed: bool = False
    """There should have been one."""

    @property
    def good(self) -> bool:
        """Did the run reach its goal, or can there be none?"""
        return self.record.outcome.met if self.record is not None else not self.failed

    @property
    def text(self) -> str:
        """What the table shows."""
        if self.record is None:
            return "failed" if self.failed else "-"
        outcome = self.record.outcome
        if outcome.met:
            return outcome.goal.value
        return f"{outcome.reason.value} after {outcome.reached.value if outcome.reached is not None else 'nothing'}"

    def row(self) -> dict[str, Any]:
        """As JSON."""
        outcome = self.record.outcome if self.record is not None else None
        return {
            "kernel": self.kernel,
            "route": self.route,
            "good": self.good,
            "reached": outcome.reached.value if outcome is not None and outcome.reached is not None else None,
            "outcome": outcome.reason.value if outcome is not None else None,
            "insns": outcome.insns if outcome is not None else None,
            "reason": self.reason,
        }


def grid(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Head and rows."""
    kernels = list(dict.fromkeys(cell.kernel for cell in cells))
    found = {(cell.route, cell.kernel): cell.text for cell in cells}
    routes = list(dict.fromkeys(cell.route for cell in cells))
    return ["route", *kernels], [[route, *(found.get((route, kernel), "") for kernel in kernels)] for route in routes]


def markdown(cells: Sequence[Cell], command: str) -> str:
    """The report."""
    head, rows = grid(cells)
    lines = [f"# {_cell(command)}", "", _row(head), _row(["---"] * len(head)), *(_row(row) for row in rows)]
    reasons = dict.fromkeys(f"{cell.kernel}, {cell.route}: {cell.reason}" for cell in cells if cell.reason)
    if reasons:
        lines += ["", *(f"* {_cell(reason)}" for reason in reasons)]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _cell(text: str) -> str:
    """Text from images and records, which must not be markup."""
    plain = plain_line(text)
    return "".join(f"\\{one}" if one in "\\`*_{}[]<>#|" else one for one in plain)


__all__ = ["Cell", "grid", "markdown"]
