"""Instructions, references and pointers of a kernel that does not run."""

from __future__ import annotations

import pytest

from tests.support.small_kernel import BASE, BOOT_PARAMS, CODE, FLAG, SPACING, small_kernel


def test_a_block_ends_where_code_may_go_elsewhere() -> None:
    code = small_kernel()
    start = code.address("setup_arch")
    assert start == BASE
    compare, jump = code.block(start)
    (place,) = compare.memory
    assert (place.address, place.size, place.read, place.written) == (BASE + BOOT_PARAMS + 0x1C0, 4, True, False)
    assert compare.writes == jump.reads == frozenset({"flags"})
    assert (jump.kind, jump.target, jump.end) == ("jcc", BASE + 0x13, BASE + 0xC)
    assert [one.kind for one in code.block(BASE + 0xC)] == ["", "ret"]


def test_what_a_block_writes_or_has_the_address_of_is_told_from_what_it_reads() -> None:
    code = small_kernel()
    assert code.refers_to(BASE) == ()
    assert code.refers_to(BASE + 0xC) == ((BASE + FLAG, 1, True),)
    assert code.refers_to(BASE + 2 * SPACING) == ((BASE + 7 * SPACING, 1, False),)


def test_pointers_in_data_are_found() -> None:
    code = small_kernel()
    assert code.pointers_to(BASE + 4 * SPACING) == (BASE + 7 * SPACING,)
    assert code.pointers_to(BASE + 3 * SPACING) == ()


def test_direct_calls_have_a_target_and_others_have_none() -> None:
    code = small_kernel()
    assert code.goes_to(BASE + SPACING + 9) == (BASE + 2 * SPACING,)
    assert code.goes_to(BASE + 3 * SPACING) == ()
    assert code.block(BASE + 3 * SPACING)[-1].reads >= {"rax"}


def test_names_that_several_have_and_places_outside_of_the_file_are_nothing() -> None:
    code = small_kernel()
    assert code.address("nobody") is None
    assert code.read(BASE - 8, 8) == b""
    assert code.block(BASE - 8) == ()
    assert code.name(BASE + FLAG) == ("flag", 0)


@pytest.mark.parametrize("code", ["65ff042540fb0100c3", "65ff05b2000000c3"])  # inc dword gs:[0x1fb40]; gs:[rip + 0xb2]
def test_a_variable_of_each_processor_has_no_place(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Much code counts in __preempt_count: that some of it ran on one side grounds nothing."""
    monkeypatch.setitem(CODE, "answer", code)
    kernel = small_kernel()
    ((place,),) = [one.memory for one in kernel.block(kernel.address("answer") or 0) if one.memory]
    assert (place.address, place.written) == (None, True)
    assert kernel.refers_to(BASE + 6 * SPACING) == ()
