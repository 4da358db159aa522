"""Faults on purpose: which call of a service fails, and what the record says of it."""

from __future__ import annotations

from efishim.injection import MEMORY, Fault, Injections

POOL, PAGES = "BootServices.AllocatePool", "BootServices.AllocatePages"


def answers(faults: list[Fault], calls: list[str]) -> list[int | None]:
    injections = Injections(faults)
    return [injections.strike(name) for name in calls]


def test_one_call_fails_and_no_other() -> None:
    fault = Fault(POOL, 2, False, "EFI_NOT_FOUND", 14)
    assert answers([fault], [POOL, PAGES, POOL, POOL]) == [None, None, 14, None]


def test_each_from_one_on_fails() -> None:
    assert answers([Fault(POOL, 2, True, "EFI_NOT_FOUND", 14)], [POOL, POOL, PAGES, POOL]) == [None, 14, None, 14]


def test_memory_runs_out_whoever_asks() -> None:
    assert answers([Fault(MEMORY, 2, True, "X", 9)], [PAGES, POOL, "BootServices.FreePool", PAGES]) == [None, 9, None, 9]


def test_several_faults_of_one_service() -> None:
    faults = [Fault(POOL, 1, False, "A", 1), Fault(POOL, 3, False, "B", 2)]
    assert answers(faults, [POOL] * 4) == [1, None, 2, None]


def test_a_call_that_is_counted_under_two_names() -> None:
    injections = Injections([Fault("memory_op.9", 1, False, "EINVAL", -22), Fault("memory_op", 2, False, "ENOSYS", -38)])
    assert injections.strike("memory_op", "memory_op.7") is None
    assert injections.strike("memory_op", "memory_op.9") == -38
    assert injections.strike("memory_op", "memory_op.9") is None


def test_notes_say_what_came_to_pass() -> None:
    once, later, ever = Fault(POOL, 1, False, "A", 1), Fault(POOL, 9, False, "B", 2), Fault(PAGES, 2, True, "C", 3)
    injections = Injections([once, later, ever])
    for name in (POOL, POOL, PAGES, PAGES, PAGES):
        injections.strike(name)
    assert injections.notes() == [
        f"--fail {POOL}:1=A: call 1 of 2 failed on purpose",
        f"--fail {POOL}:9=B never came to pass: there were 2 calls",
        f"--fail {PAGES}:2+=C: 2 of 3 calls failed on purpose",
    ]


def test_nothing_is_counted_for_nobody() -> None:
    assert Injections().strike(POOL) is None
    assert Injections().notes() == []
