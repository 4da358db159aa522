"""The pages of docs/ quote the thread in the words of efishim.study.sources, whoever edited them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from efishim.study import sources
from efishim.study.model import Source

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "study.md", *sorted((DOCS / "study").glob("*.md"))]
QUOTES = {one.text for one in vars(sources).values() if isinstance(one, Source) and one.verbatim}
ATTRIBUTED = re.compile(r"“([^”]*)” \(\[")


def quoted(page: str) -> list[str]:
    """What a page quotes with a link, without the backslashes of Markdown."""
    return [re.sub(r"\\(.)", r"\1", text) for text in ATTRIBUTED.findall(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_quotes_are_verbatim(page: Path) -> None:
    assert [text for text in quoted(page.read_text()) if text not in QUOTES] == []


def test_they_are_found_and_a_changed_one_is_seen() -> None:
    page = (DOCS / "study.md").read_text()
    found = quoted(page)
    assert len(set(found) & QUOTES) > 5
    assert set(quoted(page.replace(found[0][:20], found[0][:20] * 2))) - QUOTES
