"""A study as Markdown: one page of result, and its evidence behind it or in a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from efishim.report.comparison_text import clean
from efishim.study import summary
from efishim.study.model import Evidence, Row, Source, Study, Table

TITLE = "The thread's question, claim by claim"
Address = Callable[[Row], str]
"""Where the section of a row is."""


def render(study: Study) -> str:
    """The whole document in one file, with its last newline."""
    lines = [f"# {TITLE}", "", *_result(study, lambda row: f"#{_anchor(study, row)}")]
    for number, row in enumerate(study.rows, 1):
        lines += _row(row, f"## {number}. {_text(row.title)}")
    return "\n".join(lines) + "\n"


def pages(study: Study, folder: str) -> tuple[str, Mapping[str, str]]:
    """The page of result, and the evidence as files of `folder` by their names."""
    front = [f"# {TITLE}", "", *_result(study, lambda row: f"{folder}/{row.key}.md")]
    evidence = {f"{row.key}.md": "\n".join(_row(row, f"# {_text(row.title)}")).rstrip("\n") + "\n" for row in study.rows}
    return "\n".join(front).rstrip("\n") + "\n", evidence


def _result(study: Study, address: Address) -> Iterator[str]:
    for paragraph in summary.opening(study):
        yield _text(paragraph)
        yield ""
    yield from _claims(study, address)
    yield from _objections(study, address)
    for failure in study.failures:
        yield f"* A run failed: {_text(failure.kernel)}, {_text(failure.run)}: {_text(failure.reason)}"
    if study.failures:
        yield ""
    yield from _made(study)


def _claims(study: Study, address: Address) -> Iterator[str]:
    yield "## Claims"
    yield ""
    yield "| claim | said | verdict | what decides |"
    yield "|---|---|---|---|"
    for line in summary.lines(study):
        one = line.statement
        claim = f"[{_text(one.claim)}]({address(line.row)})"
        yield f"| {claim} | {_said(one.source)} | **{one.verdict.value}** | {_text(_sentence(line.text))} |"
    yield ""
    differing = summary.disagreements(study)
    if differing:
        yield from (f"{_text(sentence)} " for sentence in differing)
        yield ""


def _objections(study: Study, address: Address) -> Iterator[str]:
    if not study.objections:
        return
    where = {one.key: (row, one) for row in study.rows for one in row.statements}
    yield "## Objections"
    yield ""
    yield _text(summary.UNREAD)
    yield ""
    yield "| objection | answer |"
    yield "|---|---|"
    for objection in study.objections:
        row, statement = where.get(objection.statement, (None, None))
        link = "" if row is None or statement is None else f" ([{statement.verdict.value}]({address(row)}))"
        yield f"| {_said(objection.source)} | {_text(_sentence(objection.answer))}{link} |"
    yield ""


def _said(source: Source) -> str:
    text = _text(summary.quoted(source))
    return f"{text} ([{_text(source.attribution)}]({source.link}))" if source.verbatim else f"*{text}* (paraphrase)"


def _made(study: Study) -> Iterator[str]:
    yield "## How this was made"
    yield ""
    yield " · ".join(filter(None, (study.tool, study.emulator, study.date)))
    yield ""
    yield "| kernel | image | version | sha256 |"
    yield "|---|---|---|---|"
    for one in study.kernels:
        yield f"| {_text(one.name)} | `{_code(one.path)}` | {_text(one.version)} | `{one.sha256[:16]}` |"
    yield ""
    yield "```sh"
    yield clean(study.command)
    yield "```"
    yield ""


def _sentence(text: str) -> str:
    return (text[:1].upper() + text[1:]).rstrip(".") + "."


def _anchor(study: Study, row: Row) -> str:
    number = study.rows.index(row) + 1
    words = "".join(char if char.isalnum() or char in " -_" else "" for char in f"{number} {row.title}".lower())
    return words.replace(" ", "-")


def _row(row: Row, heading: str) -> Iterator[str]:
    yield heading
    yield ""
    yield _text(row.question)
    yield ""
    for statement in row.statements:
        yield f"> {_said(statement.source)}"
        yield ""
        yield f"That is: {_text(statement.claim)} **{_sentence(statement.verdict.value)}**"
        yield ""
        yield f"Criterion: {_text(_sentence(statement.criterion))}"
        yield ""
        for one, names in summary.grouped(statement):
            yield f"* {_text(', '.join(names))}: **{one.verdict.value}**: {_text(one.because)}."
        yield ""
    for evidence in row.evidence:
        alone = len(row.evidence) == 1
        if not alone:
            state = " open" if evidence is row.evidence[0] else ""
            yield f"<details{state}><summary>Evidence: {_text(', '.join(evidence.kernels))}</summary>"
            yield ""
        for table in evidence.tables:
            yield from _table(table)
        yield from _commands(evidence)
        if not alone:
            yield "</details>"
            yield ""
    yield "What this does not show:"
    yield ""
    yield from (f"* {_text(limit)}" for limit in row.limits)
    yield ""


def _table(table: Table) -> Iterator[str]:
    yield f"**{_text(table.title)}**"
    yield ""
    yield "| " + " | ".join(_text(column) for column in table.columns) + " |"
    yield "|---" * len(table.columns) + "|"
    for row in table.rows:
        yield "| " + " | ".join(_text(cell) for cell in row) + " |"
    yield ""
    yield from (f"* {_text(note)}" for note in table.notes)
    if table.notes:
        yield ""


def _commands(evidence: Evidence) -> Iterator[str]:
    if not evidence.commands:
        return
    yield "<details><summary>Commands</summary>"
    yield ""
    yield "```sh"
    for command in evidence.commands:
        yield f"# {clean(command.what)}"
        yield clean(command.command)
    yield "```"
    yield ""
    yield "</details>"
    yield ""


def _text(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in clean(text))


def _code(text: str) -> str:
    return clean(text).replace("`", "'").replace("|", "\\|")
