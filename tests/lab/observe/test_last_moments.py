"""What a panic says where no log can be read: its format. Whole runs are in tests/hostile/test_panic.py."""

from __future__ import annotations

import pytest

from efishim.lab.observe.last_moments import AFTER_A_PANIC, MNEMONICS, expanded


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("nothing to fill in", [], "nothing to fill in"),
        ("no %s found, %d times\n", [1, 3], "no text 1 found, 3 times"),
        ("%lx %p %08lx %-5u %llu", [255, 16, 1, 2, 3], "ff 10 1 2 3"),
        ("%s and %s", [1], "text 1 and %s"),
        ("100%% %y", [1], "100%% %y"),
    ],
)
def test_a_format_has_its_arguments_as_far_as_they_go(text: str, arguments: list[int], expected: str) -> None:
    assert expanded(text, arguments, lambda at: f"text {at}") == expected


def test_exceptions_have_the_names_of_the_manual() -> None:
    assert (MNEMONICS[6], MNEMONICS[8], MNEMONICS[13], MNEMONICS[14]) == ("#UD", "#DF", "#GP", "#PF")


def test_who_ends_a_run_after_a_panic_is_not_overruled() -> None:
    assert not AFTER_A_PANIC & {"timeout", "interrupted", "milestone reached", "shutdown", "insn limit"}
