"""A study as one self-contained HTML file without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from efishim.report.comparison_text import clean
from efishim.study import summary
from efishim.study.model import Row, Source, StatementView, Study, Table, Verdict

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 14px; } th, td { border: 1px solid var(--line); padding: .25rem .5rem;
text-align: left; vertical-align: top; overflow-wrap: anywhere; } th { background: var(--soft); }
.wide { overflow-x: auto; } blockquote { border-left: .25rem solid var(--line); margin-left: 0; padding-left: 1rem; }
pre { background: var(--soft); padding: .5rem; overflow-x: auto; font-size: 13px; }
.verdict { font-weight: bold; border-radius: .25rem; padding: .1rem .4rem; background: var(--soft); }
.supported { background: #36a3; } .refuted { background: #a6c3; } .some { background: #69b2; }
.bar { height: .5rem; min-width: 1px; background: #69b; }
nav ul { columns: 2; padding-left: 1rem; } nav li { break-inside: avoid; }
"""
CLASSES = {Verdict.SUPPORTED: "supported", Verdict.REFUTED: "refuted", Verdict.SOME: "some", Verdict.UNTESTED: ""}
"""Blue, violet and grey: which verdict is the good one is for the reader to say."""
BAR = '<div class="bar" style="width: {:.3f}%"></div>'


def render(study: Study) -> str:
    """The whole page."""
    return "\n".join(_page(study)) + "\n"


def _page(study: Study) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>The thread's question, claim by claim</title><style>{STYLE}</style></head><body>"
    yield "<h1>The thread's question, claim by claim</h1>"
    yield from (f"<p>{_(paragraph)}</p>" for paragraph in summary.opening(study))
    yield "<nav><ul>"
    yield from (f'<li><a href="#{_(row.key)}">{number}. {_(row.title)}</a></li>' for number, row in enumerate(study.rows, 1))
    yield "</ul></nav><h2>Claims</h2>"
    head = "".join(f"<th>{word}</th>" for word in ("claim", "said", "verdict", "what decides"))
    yield f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>'
    for line in summary.lines(study):
        one = line.statement
        claim = f'<a href="#{_(line.row.key)}">{_(one.claim)}</a>'
        yield f"<tr><td>{claim}</td><td>{_said(one.source)}</td><td>{_verdict(one.verdict)}</td><td>{_(line.text)}</td></tr>"
    yield "</tbody></table></div>"
    yield from _objections(study)
    yield from (f"<p>{_(sentence)}</p>" for sentence in summary.disagreements(study))
    yield from (f"<p>A run failed: {_(one.kernel)}, {_(one.run)}: {_(one.reason)}</p>" for one in study.failures)
    for number, row in enumerate(study.rows, 1):
        yield from _row(row, number)
    yield from _made(study)
    yield "</body></html>"


def _objections(study: Study) -> Iterator[str]:
    if not study.objections:
        return
    where = {one.key: (row, one) for row in study.rows for one in row.statements}
    yield "<h2>Objections</h2>"
    yield f'<p>{_(summary.UNREAD)}</p><div class="wide"><table><thead><tr><th>objection</th><th>answer</th></tr></thead><tbody>'
    for objection in study.objections:
        row, one = where.get(objection.statement, (None, None))
        link = "" if row is None or one is None else f' <a href="#{_(row.key)}">{_verdict(one.verdict)}</a>'
        yield f"<tr><td>{_said(objection.source)}</td><td>{_(objection.answer)}{link}</td></tr>"
    yield "</tbody></table></div>"


def _made(study: Study) -> Iterator[str]:
    yield f"<h2>How this was made</h2><p>{_(' · '.join(filter(None, (study.tool, study.emulator, study.date))))}</p>"
    kernels = [[one.name, one.path, one.version, one.sha256] for one in study.kernels]
    yield _rows(["kernel", "image", "version", "sha256"], kernels)
    yield f"<pre>{_(study.command)}</pre>"


def _said(source: Source) -> str:
    text = _(summary.quoted(source))
    if not source.verbatim:
        return f"<em>{text}</em> (paraphrase)"
    return f'{text} (<a href="{_(source.link)}">{_(source.attribution)}</a>)'


def _row(row: Row, number: int) -> Iterator[str]:
    yield f'<section id="{_(row.key)}"><h2>{number}. {_(row.title)}</h2><p>{_(row.question)}</p>'
    for statement in row.statements:
        yield from _statement(statement)
    for index, evidence in enumerate(row.evidence):
        yield f"<details{'' if index else ' open'}><summary>Evidence: {_(', '.join(evidence.kernels))}</summary>"
        for table in evidence.tables:
            yield from _table(table)
        if evidence.commands:
            text = "\n".join(f"# {one.what}\n{one.command}" for one in evidence.commands)
            yield f"<details><summary>Commands</summary><pre>{escape(text)}</pre></details>"
        yield "</details>"
    yield "<h3>What this does not show</h3><ul>"
    yield from (f"<li>{_(limit)}</li>" for limit in row.limits)
    yield "</ul></section>"


def _statement(statement: StatementView) -> Iterator[str]:
    yield f"<blockquote>{_said(statement.source)}</blockquote>"
    yield f"<p>That is: {_(statement.claim)} {_verdict(statement.verdict)}</p><p>Criterion: {_(statement.criterion)}.</p><ul>"
    for one, names in summary.grouped(statement):
        yield f"<li>{_(', '.join(names))}: {_verdict(one.verdict)} {_(one.because)}</li>"
    yield "</ul>"


def _table(table: Table) -> Iterator[str]:
    yield f"<h3>{_(table.title)}</h3>"
    yield _rows(table.columns, table.rows, table.bars)
    if table.notes:
        yield "<ul>" + "".join(f"<li>{_(note)}</li>" for note in table.notes) + "</ul>"


def _rows(columns: list[str], rows: list[list[str]], bars: Sequence[int] = ()) -> str:
    longest = max((_number(row[column]) for row in rows for column in bars), default=0)

    def cell(column: int, text: str) -> str:
        share = 100 * _number(text) / longest if column in bars and longest else 0
        return f"<td>{_(text)}{BAR.format(share) if share else ''}</td>"

    head = "".join(f"<th>{_(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(cell(column, text) for column, text in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(text: str) -> int:
    digits = text.replace(",", "")
    return int(digits) if digits.isdecimal() else 0


def _verdict(verdict: Verdict) -> str:
    return f'<span class="verdict {CLASSES[verdict]}">{verdict.value}</span>'


def _(text: str) -> str:
    return escape(clean(text))
