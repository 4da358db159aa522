"""What a panic says where no log can be read: its format. Whole runs are in tests/hostile/test_panic.py."""

from __future__ import annotations

import pytest

from efishim.lab.observe.last_moments import AFTER_A_PANIC, MNEMONICS, expanded
from efishim.lab.record import LastMoments
from tests.hostile.programs import run_program


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("nothing to fill in", [], "nothing to fill in"),
        ("no %s found, %d times\n", [1, 3], "no text 1 found, 3 times"),
        ("%lx %p %08lx %-5u %llu", [255, 16, 1, 2, 3], "ff 10 00000001 2 3"),
        # An int is in the lower half of its place, whatever is in the upper one.
        ("Attempted to kill init! exitcode=0x%08x", [0x1_0000_000B], "Attempted to kill init! exitcode=0x0000000b"),
        ("(%d) %ld", [0xFFFF_FFF2, 0xFFFF_FFF2], "(-14) 4294967282"),
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


@pytest.mark.parametrize(("program", "name"), [("jump_zero", "#PF"), ("iret_garbage", "#GP")])
def test_an_exception_that_ends_a_run_is_shown_as_it_found_the_processor(program: str, name: str) -> None:
    """And not the handler of the firmware, which says what it was and stops."""
    last = run_program(program).last_moments
    assert isinstance(last, LastMoments)
    assert last.moment == "exception"
    assert last.exceptions[-1].name == name
    assert last.registers.rip == last.exceptions[-1].at.address
    if program == "jump_zero":
        assert last.registers.rip == 0
    else:
        assert last.code[0].text == "iretq"


@pytest.mark.slow
def test_a_run_that_somebody_else_ends_is_shown_at_its_end() -> None:
    last = run_program("two_blocks_masked").last_moments
    assert isinstance(last, LastMoments)
    assert (last.moment, last.exceptions) == ("end", [])
