"""Functions that ran differently between runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efishim.compare.model import Comparison
from efishim.lab.record import FunctionCoverage, Record
from efishim.report.figures import amount
from efishim.report.html.keys import spans
from efishim.report.html.limits import Cut, Limits, cut

ELSEWHERE = "elsewhere"
"""Code that lies anywhere, as firmware does: its blocks can be counted and not be told apart."""


@dataclass(frozen=True, slots=True)
class Use:
    """A function in one run: its blocks, how many of them the reference did not run and the other way round."""

    blocks: int
    insns: str
    only: int = 0
    missing: int = 0


@dataclass(frozen=True, slots=True)
class FunctionRow:
    """A function; None for runs in which it did not run. `kind` is `some` or `blocks`."""

    name: str
    part: str
    kind: str
    uses: tuple[Use | None, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """Runs that ran the same blocks of everything in the table; the first of them is shown."""

    index: int
    keys: str
    """Their letters."""
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """The table, and how many functions there are of each kind in all."""

    rows: Cut[FunctionRow]
    columns: tuple[Column, ...]
    hidden: tuple[str, ...]
    """Runs that ran none of these functions, which have no column."""
    some: int
    """Ran on some runs, not on all."""
    blocks: int
    """Ran on all, other blocks of them."""
    alike: int
    only: tuple[int, ...]
    """For each run, functions that ran on no other."""


def code(comparison: Comparison, records: Sequence[Record], limits: Limits) -> Code:
    """Subtract the coverage of all runs from each other."""
    table: dict[tuple[str, str], list[FunctionCoverage | None]] = {}
    for index, record in enumerate(records):
        for function in record.coverage.functions:
            table.setdefault((function.part, function.name), [None] * len(records))[index] = function
    some, blocks = [], []
    only = [0] * len(records)
    for (part, name), found in sorted(table.items()):
        if None in found:
            there = [index for index, one in enumerate(found) if one is not None]
            if len(there) == 1:
                only[there[0]] += 1
            some.append(FunctionRow(name, part, "some", _uses(found)))
        elif len({_shape(one) for one in found if one is not None}) > 1:
            blocks.append(FunctionRow(name, part, "blocks", _uses(found)))
    some.sort(key=lambda row: (sum(use is not None for use in row.uses), -max(use.blocks for use in row.uses if use), row.name))
    blocks.sort(key=lambda row: (-sum(use.only + use.missing for use in row.uses if use), row.name))
    rows = cut([*some, *blocks], limits.functions)
    return Code(
        rows, *_columns(comparison, rows.shown), len(some), len(blocks), len(table) - len(some) - len(blocks), tuple(only)
    )


def _columns(comparison: Comparison, rows: Sequence[FunctionRow]) -> tuple[tuple[Column, ...], tuple[str, ...]]:
    """Columns without those that would repeat another or be empty; and the runs of the empty ones."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for index in range(len(comparison.runs)):
        cells = (row.uses[index] for row in rows)
        alike.setdefault(tuple(use and (use.blocks, use.only, use.missing) for use in cells), []).append(index)
    keys, names = [run.key for run in comparison.runs], [run.name for run in comparison.runs]
    columns: list[Column] = []
    hidden: list[str] = []
    for shape, indexes in alike.items():
        mine = tuple(names[index] for index in indexes)
        if any(shape):
            columns.append(Column(indexes[0], spans(keys, indexes), mine))
        else:
            hidden += mine
    return tuple(columns), tuple(hidden)


def _shape(function: FunctionCoverage) -> str:
    return str(function.blocks) if function.part == ELSEWHERE else function.offsets


def _uses(found: Sequence[FunctionCoverage | None]) -> tuple[Use | None, ...]:
    reference = frozenset(found[0].offsets.split()) if found[0] is not None and found[0].part != ELSEWHERE else None
    uses: list[Use | None] = []
    for one in found:
        if one is None:
            uses.append(None)
        elif reference is None:
            uses.append(Use(one.blocks, amount(one.insns)))
        else:
            here = frozenset(one.offsets.split())
            uses.append(Use(one.blocks, amount(one.insns), len(here - reference), len(reference - here)))
    return tuple(uses)
