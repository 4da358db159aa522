"""Renders a record, or some of its parts, as text and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

from efishim.lab.record import Record
from efishim.report.comparison_text import clean, columns
from efishim.report.html.page import environment, policy, template_file
from efishim.report.plain import plain
from efishim.report.record_parts import PARTS, PartView, Table, head, parts

ROWS = 3000
"""Rows of a table on a page; text and JSON have all."""

VERDICTS = frozenset({"milestones", "conclusion"})
"""Parts whose first line is a verdict."""

CELL = 100
"""Characters of a cell in text."""


def text(record: Record, names: Sequence[str] = ()) -> str:
    """The parts of those names in whole; without names an overview, with the milestones in whole."""
    lines: list[str] = []
    if len(names) != 1:
        lines += [f"{name + ':':<14}{clean(value)}" for name, value in head(record)]
    for one in parts(record, names or ("milestones",)):
        if len(names) != 1:
            lines += ["", f"{one.title}: {one.summary}"]
        lines += _part(one)
    if not names:
        lines += ["", "The other parts, each with `efishim show FILE PART`:"]
        rest = parts(record, [name for name in PARTS if name != "milestones"])
        lines += columns([(f"  {one.name}", one.summary) for one in rest])
    return "\n".join(line.rstrip() for line in lines).lstrip("\n") + "\n"


def _part(one: PartView) -> Iterator[str]:
    yield from (clean(line) for line in one.lines)
    for table in one.tables:
        yield from _table(table)
    if one.text:
        yield from plain(one.text).rstrip("\n").split("\n")


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield ""
        yield table.title
    cells = [tuple(cell if len(cell) <= CELL else f"{cell[: CELL - 3]}..." for cell in row) for row in table.rows]
    yield from columns([table.headers, *cells])


def page(record: Record, names: Sequence[str] = ()) -> str:
    """One file of HTML that loads nothing."""
    route = f"{record.route.provider}/{record.route.entry}@{record.route.platform}"
    tool = f"{record.tool.name} {record.tool.version}"
    return page_of(f"Record of {route}", tool, list(head(record)), parts(record, names), good=record.outcome.met)


def page_of(title: str, tool: str, about: Sequence[tuple[str, str]], views: Sequence[PartView], *, good: bool) -> str:
    """The page of such parts. The first line of the first part is its verdict, and `good` the colour of that."""
    style, script = template_file("style.css"), template_file("script.js")
    values: dict[str, Any] = {
        "title": title,
        "tool": tool,
        "head": about,
        "met": good,
        "parts": views,
        "rows": ROWS,
        "verdicts": VERDICTS,
        "style": Markup(style),  # noqa: S704 - a file of this package
        "script": Markup(script),  # noqa: S704
        "policy": policy(style, script),
    }
    return environment().get_template("record.html").render(values)
