"""Suggestions for names that nobody knows."""

from __future__ import annotations

import pytest

from efishim.closest import closest, suggestion


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("hvmlight", "hvmlite"), ("HVMLITE", "hvmlite"), ("grb", "grub"), ("firmwre", "firmware"), ("", ""), ("zzz", "")],
)
def test_the_nearest_name_is_found_and_none_where_none_is_near(name: str, wanted: str) -> None:
    assert closest(name, ("firmware", "grub", "hvmlite")) == wanted


def test_a_hint_begins_with_the_question() -> None:
    assert suggestion("rnu", ("run", "compare")) == "did you mean run? "
    assert suggestion("lunch", ("run", "compare")) == ""
    assert suggestion("x" * 10**6, ["x" * 100]) != "", "a name of any length is looked at in no time"
