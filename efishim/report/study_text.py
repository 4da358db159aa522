"""A study as text: the summary, then each row with its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from efishim.report.comparison_text import clean
from efishim.study import summary
from efishim.study.model import Row, Source, Study, Table

WIDTH = 100
CELL = 60
"""Widest cell of a table; longer ones are cut, and whole in the other formats."""


def render(study: Study) -> str:
    """The whole document, with its last newline."""
    lines = [" ".join(filter(None, (study.tool, study.emulator, study.date))), ""]
    for paragraph in summary.opening(study):
        lines += [*_wrapped(paragraph), ""]
    for line in summary.lines(study):
        lines += _wrapped(f"{line.statement.verdict.value.upper()}: {line.statement.claim}")
        lines += [*_wrapped(_said(line.statement.source), "    "), *_wrapped(line.text, "    "), ""]
    lines += [*_wrapped(summary.UNREAD), ""]
    for objection in study.objections:
        lines += [*_wrapped(f"Objection: {_said(objection.source)}"), *_wrapped(objection.answer, "    "), ""]
    lines += [line for sentence in summary.disagreements(study) for line in (*_wrapped(sentence), "")]
    lines += [clean(f"failed: {one.kernel}, {one.run}: {one.reason}") for one in study.failures]
    for number, row in enumerate(study.rows, 1):
        lines += _row(row, number)
    return "\n".join(lines) + "\n"


def _said(source: Source) -> str:
    return f"{summary.quoted(source)} ({', '.join(filter(None, (source.attribution, source.link)))})"


def _row(row: Row, number: int) -> Iterator[str]:
    yield ""
    yield f"{number}. {clean(row.title)}"
    yield from _wrapped(row.question, "   ")
    for statement in row.statements:
        yield ""
        yield from _wrapped(f"{statement.claim} {statement.verdict.value.upper()}", "   ")
        yield from _wrapped(f"said: {_said(statement.source)}", "      ")
        yield from _wrapped(f"criterion: {statement.criterion}", "      ")
        for one, names in summary.grouped(statement):
            yield from _wrapped(f"{', '.join(names)}: {one.verdict.value}: {one.because}", "      ")
    for evidence in row.evidence:
        for table in evidence.tables:
            yield ""
            yield f"   {clean(table.title)} ({clean(', '.join(evidence.kernels))})"
            yield from _table(table)
        yield from (f"   $ {clean(command.command)}" for command in evidence.commands)
    yield ""
    yield "   What this does not show:"
    for limit in row.limits:
        yield from _wrapped(f"- {limit}", "   ")


def _table(table: Table) -> Iterator[str]:
    rows: Sequence[Sequence[str]] = [[_cut(cell) for cell in line] for line in (table.columns, *table.rows)]
    widths = [max(len(line[column]) for line in rows) for column in range(len(table.columns))]
    for line in rows:
        yield "   " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    for note in table.notes:
        yield from _wrapped(note, "   ")


def _cut(cell: str) -> str:
    text = clean(cell)
    return text if len(text) <= CELL else text[: CELL - 3] + "..."


def _wrapped(text: str, indent: str = "") -> list[str]:
    return wrap(clean(text), WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
