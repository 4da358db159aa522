"""The convergence of two routes."""

from __future__ import annotations

from efishim.compare.convergence import Convergence, converge


def test_the_first_common_block_and_where_the_ways_part_again() -> None:
    left = ["startup_64+0x0", "a+0x0", "b+0x0", "c+0x0"]
    right = ["pvh_start_xen+0x0", "startup_64+0x0", "a+0x0", "d+0x0"]
    assert converge(left, right) == Convergence("startup_64+0x0", 2, "b+0x0", "d+0x0")


def test_ways_that_never_part() -> None:
    assert converge(["a", "b"], ["x", "a", "b"]) == Convergence("a", 2)
    assert converge(["a", "b", "c"], ["a", "b"]) == Convergence("a", 2)


def test_ways_that_never_converge() -> None:
    assert converge(["a"], ["b"]) is None
    assert converge([], []) is None
