"""Numbers for people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.report import figures


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (734, "734"),
        (999, "999"),
        (1000, "1 k"),
        (12_340, "12.3 k"),
        (999_499, "999 k"),
        (999_500, "1 M"),
        (105_000_000, "105 M"),
        (1_050_000_000, "1.05 G"),
        (20_000_000_000, "20 G"),
        (5_000_000_000_000, "5000 G"),
    ],
)
def test_counts(number: int, text: str) -> None:
    assert figures.amount(number) == text


@given(st.integers(0, 10**12 - 1))
def test_a_count_is_short_and_within_half_a_percent(number: int) -> None:
    text = figures.amount(number)
    assert len(text) <= 6
    value, _, unit = text.partition(" ")
    shown = float(value) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]
    assert abs(shown - number) <= 0.0051 * max(number, 1)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (8 << 20, "8.0 MiB"), (3 << 30, "3.0 GiB")],
)
def test_sizes(number: int, text: str) -> None:
    assert figures.size(number) == text
