"""Results on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from efishim.provider import OptionHelp

PLAIN_WIDTH = 100_000
"""Where stdout is no terminal nothing is wrapped, so that grep and cut see whole rows."""


def stdout() -> Console:
    """A console on stdout; colours only on a terminal."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)


def print_json(value: Any) -> None:
    """Sorted keys, two spaces."""
    print(json.dumps(value, indent=2, sort_keys=True))


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns under their headers; the last column may wrap on a terminal."""
    grid = Table(box=box.SIMPLE_HEAD if sys.stdout.isatty() else None, pad_edge=False, header_style="bold")
    for index, header in enumerate(headers):
        grid.add_column(header, no_wrap=index + 1 < len(headers), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    stdout().print(grid)


def heading(title: str, rest: str = "") -> None:
    """A bold line, and plain text after it."""
    stdout().print(Text.assemble((title, "bold"), f"  {rest}" if rest else ""))


def paragraph(text: str) -> None:
    """An indented line."""
    stdout().print(Text(f"  {text}"))


def option_rows(group: str, options: Iterable[OptionHelp]) -> list[dict[str, str]]:
    """Options of a provider or platform with their full names."""
    return [{"option": f"{group}.{one.name}", "default": one.default, "help": one.help} for one in options]
