"""Differences between lines: right for all, and soon done for those that are made to take long."""

from __future__ import annotations

import difflib
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.compare import lines
from efishim.compare.lines import opcodes, unified

SECONDS = 5.0

letters = st.lists(st.sampled_from("abcd"), max_size=30)


def applied(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """What the operations make of the one."""
    made: list[str] = []
    at = 0
    for kind, i, k, j, m in opcodes(one, other):
        assert i == at
        at = k
        if kind == "equal":
            assert list(one[i:k]) == list(other[j:m])
            made += one[i:k]
        else:
            assert kind == ("replace" if i < k and j < m else "delete" if i < k else "insert")
            made += other[j:m]
    assert at == len(one)
    return made


@given(letters, letters)
def test_the_operations_lead_from_one_to_the_other(one: list[str], other: list[str]) -> None:
    assert applied(one, other) == other


@given(letters, letters)
def test_so_they_do_without_a_budget(one: list[str], other: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BUDGET", 0)
        assert applied(one, other) == other


@given(letters, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_text_is_that_of_difflib(one: list[str], context: int, chance: random.Random) -> None:
    """For lines that stand once there is one shortest way, so both have to find it."""
    unique = [f"{line}{index}" for index, line in enumerate(one)]
    other = [line for line in unique if chance.random() < 0.7]
    expected = list(difflib.unified_diff(unique, other, lineterm="", n=context))[2:]
    assert list(unified(unique, other, context)) == expected


def test_lines_that_begin_with_dashes_are_shown() -> None:
    assert list(unified(["-- a", "b"], ["b", "++ c"], 0)) == ["@@ -1 +0,0 @@", "--- a", "@@ -2,0 +2 @@", "+++ c"]


MANY = 60_000
chance = random.Random(1)
HARD = {
    "every other line": ([f"{n}" for n in range(MANY)], [f"{n}" if n % 2 else f"x{n}" for n in range(MANY)]),
    "one line, again and again": (["a"] * MANY, ["a"] * (MANY // 2) + ["b"] + ["a"] * (MANY // 2)),
    "two lines in any order": (chance.choices("ab", k=MANY), chance.choices("ab", k=MANY)),
    "shuffled": ([f"{n}" for n in range(MANY)], chance.sample([f"{n}" for n in range(MANY)], MANY)),
    "backwards": ([f"{n}" for n in range(MANY)], [f"{n}" for n in reversed(range(MANY))]),
    "pairs": ([f"{n // 2}" for n in range(MANY)], [f"{n // 2}" for n in range(1, MANY)]),
    "nothing in common": ([f"{n}" for n in range(MANY)], [f"x{n}" for n in range(MANY)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HARD)
def test_no_input_takes_long(name: str) -> None:
    one, other = HARD[name]
    begun = time.process_time()
    text = list(unified(one, other, 2))
    assert time.process_time() - begun < SECONDS
    assert text
