"""The output formats of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

from efishim.compare.model import Comparison, encode
from efishim.report import comparison_markdown, comparison_text, junit

if TYPE_CHECKING:
    from efishim.lab.record import Record

Renderer = Callable[[Comparison, "Sequence[Record]", bool], str]
"""(the document, the records that it was made of, everything in full) to the text with its last newline."""

FORMATS = ("text", "json", "markdown", "html", "junit")


def renderers() -> Mapping[str, Renderer]:
    """By name, in the order of the help text."""
    return {
        "text": lambda comparison, _records, verbose: comparison_text.render(comparison, verbose=verbose),
        "json": lambda comparison, _records, _verbose: encode(comparison).decode("utf-8"),
        "markdown": lambda comparison, _records, verbose: comparison_markdown.render(comparison, verbose=verbose),
        "html": _html,
        "junit": lambda comparison, _records, _verbose: junit.render("efishim.compare", junit.comparison_cases(comparison)),
    }


def _html(comparison: Comparison, records: Sequence[Record], _verbose: bool) -> str:
    """Templates are only loaded when they are wanted."""
    text: str = import_module("efishim.report.html").render(comparison, records)
    return text
