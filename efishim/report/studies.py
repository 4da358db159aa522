"""The output formats of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from efishim.report import study_html, study_markdown, study_text
from efishim.study.model import Study, encode

FORMATS = ("text", "markdown", "json", "html")


def renderers() -> Mapping[str, Callable[[Study], str]]:
    """By name, in the order of the help text."""
    return {
        "text": study_text.render,
        "markdown": study_markdown.render,
        "json": lambda study: encode(study).decode("utf-8"),
        "html": study_html.render,
    }
