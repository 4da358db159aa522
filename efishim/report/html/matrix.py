"""The table of facts by route: every fact that differs between any two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from efishim.compare.facts import Fact
from efishim.compare.model import Comparison, Row
from efishim.compare.rules import Class
from efishim.report.html.limits import Cut, Limits, cut
from efishim.report.html.marks import MARKS, REFERENCE, Mark, classes, pair_of


@dataclass(frozen=True, slots=True)
class Cell:
    """What one run has: the letter of its value, empty without the fact."""

    mark: Mark
    letter: str


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A fact. `kinds` are the classes that occur in it, as words of CSS."""

    path: str
    side: str
    cells: tuple[Cell, ...]
    values: tuple[tuple[str, str], ...]
    kinds: str


def matrix(comparison: Comparison, limits: Limits) -> Cut[MatrixRow]:
    """The rows; those with something unexplained come first."""
    judged = [_judged(comparison, run.name) for run in comparison.runs]
    odd = {fact for one in judged for fact, kind in one.items() if kind == Class.UNEXPLAINED.value}
    first = cut(sorted(comparison.rows, key=lambda row: row.fact not in odd), limits.matrix)
    return Cut(tuple(_row(row, judged) for row in first.shown), first.more)


def _judged(comparison: Comparison, name: str) -> Mapping[Fact, str]:
    pair = pair_of(comparison, name)
    return {} if pair is None else classes(pair)


def _row(row: Row, judged: Sequence[Mapping[Fact, str]]) -> MatrixRow:
    cells = []
    for index, value in enumerate(row.cells):
        letter = _letter(value) if value >= 0 else ""
        if index == 0:
            mark = REFERENCE
        elif value == row.cells[0]:
            mark = MARKS[Class.IDENTICAL.value]
        else:
            mark = MARKS[judged[index].get(row.fact, Class.UNEXPLAINED.value)]
        cells.append(Cell(mark, letter))
    kinds = sorted({cell.mark.css for cell in cells[1:]})
    values = tuple((_letter(index), value) for index, value in enumerate(row.values))
    return MatrixRow(row.path, row.side, tuple(cells), values, " ".join(kinds))


def _letter(index: int) -> str:
    """a to z, then a2 and so on."""
    turn, place = divmod(index, 26)
    return chr(ord("a") + place) + (str(turn + 1) if turn else "")
