"""Writes results to stdout: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from efishim.cli.outputs import STDOUT
from efishim.report.plain import plain, plain_json, plain_line

if TYPE_CHECKING:
    from rich.console import Console

    from efishim.provider import OptionHelp

FOR_PEOPLE = frozenset({"text", "markdown"})
"""Forms that are read as they are."""


def print_json(value: Any) -> None:
    """Sorted keys, two spaces."""
    print(json.dumps(value, indent=2, sort_keys=True))


def document(text: str, form: str, output: str | None = None) -> None:
    """A whole report in one of its forms, to a file or to stdout. Texts for people have no control characters anywhere;
    forms that programs read are as they are, but on a terminal.
    """
    if form in FOR_PEOPLE:
        text = plain(text)
    if output not in (None, STDOUT):
        from efishim.report.files import write_atomically

        write_atomically(str(output), text.encode("utf-8"))
    elif sys.stdout.isatty() and form not in FOR_PEOPLE:
        sys.stdout.write(plain_json(text) if form == "json" else plain(text))
    else:
        sys.stdout.write(text)


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns under their headers. Without a terminal nothing is wrapped or padded, for grep and cut."""
    if sys.stdout.isatty():
        _drawn(headers, rows)
        return
    lines = [tuple(headers), *(tuple(plain_line(cell) for cell in row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _drawn(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="underline")
    for index, header in enumerate(headers):
        grid.add_column(header, no_wrap=index + 1 < len(headers), overflow="fold")
    for row in rows:
        grid.add_row(*(plain_line(cell) for cell in row))
    _console().print(grid)


def heading(title: str, rest: str = "") -> None:
    """A bold line, and plain text after it."""
    text = plain_line(title)
    if sys.stdout.isatty():
        from rich.text import Text

        _console().print(Text.assemble((text, "bold"), f"  {plain_line(rest)}" if rest else ""))
    else:
        print(f"{text}  {plain_line(rest)}" if rest else text)


def paragraph(text: str) -> None:
    """An indented line."""
    print(f"  {plain_line(text)}")


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def _takes(option: OptionHelp) -> str:
    """What values it takes, where the provider says so."""
    words = ", ".join(option.choices) or ("" if option.kind == "text" else option.kind.value)
    return f" ({words})" if words else ""


def option_rows(group: str, options: Iterable[OptionHelp]) -> list[dict[str, str]]:
    """Options of a provider or platform with their full names."""
    return [{"option": f"{group}.{one.name}", "default": one.default, "help": one.help + _takes(one)} for one in options]
