"""A branch is followed back to the memory, the results and the arguments that it tests."""

from __future__ import annotations

from efishim.compare.branches import Argument, Cell, Result, Source, Target, leads_to, sources
from tests.support.small_kernel import BASE, BOOT_PARAMS, SPACING, small_kernel


def followed(branch: int, first: int, back: dict[int, int] | None = None) -> list[Source]:
    return sources(small_kernel(), BASE + branch, BASE + first, lambda at: (back or {}).get(at - BASE))


def test_a_comparison_with_memory() -> None:
    assert followed(0, 0xC) == [Cell(BASE + BOOT_PARAMS + 0x1C0, 4)]
    assert followed(0, 0x13) == [Cell(BASE + BOOT_PARAMS + 0x1C0, 4)]


def test_a_result_is_one_of_the_function_that_was_called_before() -> None:
    behind_call, call = 5 * SPACING + 5, 5 * SPACING
    assert followed(behind_call, behind_call + 4, {behind_call: BASE + call}) == [
        Result(BASE + 6 * SPACING),
        Argument(BASE + call),
    ]
    assert followed(behind_call, behind_call + 4) == []


def test_a_call_through_a_pointer_has_its_target_and_where_the_pointer_came_from() -> None:
    assert followed(3 * SPACING, 4 * SPACING) == [Target(BASE + 4 * SPACING), Argument(BASE + 3 * SPACING)]


def test_a_branch_that_does_not_lead_there_tests_nothing() -> None:
    assert followed(0, 0x10) == []
    code = small_kernel()
    assert leads_to(code.block(BASE), BASE + 0xC)
    assert not leads_to(code.block(BASE), BASE + 0x10)
    assert not leads_to(code.block(BASE + 0xC), BASE + 0x14)
