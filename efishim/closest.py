"""Finds the name that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LIKENESS = 0.6
"""Least similarity of two names, from 0 to 1, of which one may be a typing error of the other (difflib's ratio)."""

LONGEST = 80
"""Characters of a name that is looked at; comparing takes quadratic time."""


def alternatives(name: str, known: Iterable[str], *, most: int = 1, likeness: float = LIKENESS) -> list[str]:
    """The known names that are like this one, the most alike first; upper and lower case are the same."""
    by_case = {one.lower(): one for one in known}
    return [by_case[one] for one in get_close_matches(name[:LONGEST].lower(), by_case, most, likeness)]


def closest(name: str, known: Iterable[str]) -> str:
    """The known name most like this one; empty if none is."""
    return next(iter(alternatives(name, known)), "")


def suggestion(name: str, known: Iterable[str]) -> str:
    """`did you mean NAME? `, the beginning of a hint; empty if no known name is like this one."""
    found = closest(name, known)
    return f"did you mean {found}? " if found else ""
