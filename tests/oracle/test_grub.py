"""Command lines as GRUB's configuration takes them: everything in single quotes is itself (GRUB manual, "Quoting")."""

from __future__ import annotations

import pytest

from efishim.errors import UsageError
from efishim.oracle.grub import words


@pytest.mark.parametrize(
    ("cmdline", "expected"),
    [
        (b"", ""),
        (b"console=ttyS0  quiet", "'console=ttyS0' 'quiet'"),
        (b"a=$x;b|c>d", "'a=$x;b|c>d'"),
        (b"it's", "'it'\\''s'"),
        (b"x=\xff", "'x=\udcff'"),
    ],
)
def test_words_are_quoted(cmdline: bytes, expected: str) -> None:
    assert words(cmdline) == expected


def test_a_line_end_cannot_be_passed_on() -> None:
    with pytest.raises(UsageError, match="control characters"):
        words(b"a\nreboot")
