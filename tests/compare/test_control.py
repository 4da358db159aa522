"""Control runs explain code that the same route runs or leaves out at another speed, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from efishim.compare.build import build
from efishim.compare.control import SPEEDS, VARIATIONS
from efishim.compare.pair import compare
from efishim.compare.rules import Class
from efishim.compare.settle import PATIENCE, ROUNDS, Wanted, settled
from efishim.compare.traits import KASLR_FLAG
from efishim.lab.record import Hex, Record, RouteName
from efishim.machine.timekeeper import INSNS_PER_US
from tests.compare.changes import at
from tests.compare.test_roots import BASE, MORE, ran

RULE = "code that depends on timing or on where the kernel lies"
FIRST = RouteName(provider="hvmlite", entry="pvh", platform="pc")
SECOND = RouteName(provider="grub", entry="linux64", platform="pc")
LEFT, RIGHT = replace(ran(BASE), route=FIRST), replace(ran(MORE), route=SECOND)


@dataclass
class Runs:
    """Control runs that are made already: by number of the record, what runs at each speed, 0 being without KASLR."""

    made: Mapping[int, Mapping[int, Record]]
    asked: list[tuple[int, int]] = field(default_factory=list)

    def repeat(self, wanted: Sequence[Wanted]) -> dict[Wanted, Record]:
        found = {}
        for number, variation in wanted:
            speed = variation.speed if variation.kaslr else 0
            self.asked.append((number, speed))
            if speed in self.made.get(number, {}):
                found[number, variation] = self.made[number][speed]
        return found


def open_code(left: Record, right: Record, runs: Runs) -> list[str]:
    (pair,) = settled([compare(left, right)], runs.repeat)
    return [one.difference.path for one in pair.of(Class.UNEXPLAINED)]


def test_speeds_are_near_the_machines_own_and_none_is_that() -> None:
    assert len(set(SPEEDS)) == len(SPEEDS)
    assert INSNS_PER_US not in SPEEDS
    assert [speed for speed in SPEEDS if abs(speed - INSNS_PER_US) > INSNS_PER_US * 3 // 100] == [INSNS_PER_US // 2]


def test_code_that_the_other_route_runs_too_at_another_speed() -> None:
    runs = Runs({0: {SPEEDS[0]: ran(MORE)}, 1: {SPEEDS[0]: ran(MORE)}})
    assert open_code(LEFT, RIGHT, runs) == []
    assert runs.asked == [(0, SPEEDS[0]), (0, SPEEDS[1])], "the reference alone was enough"
    (pair,) = settled([compare(LEFT, RIGHT)], runs.repeat)
    (one,) = [one for one in pair.judged if one.difference.shown is not None]
    assert one.verdict.rule is not None
    assert one.verdict.rule.name == RULE
    assert one.difference.right.endswith(f"; at {SPEEDS[0]:,} instructions in a microsecond hvmlite/pvh runs it, too")
    assert one.difference.left == ""
    assert RULE not in pair.unused


def test_code_that_its_route_leaves_out_at_another_speed() -> None:
    runs = Runs({0: {SPEEDS[1]: ran(BASE)}, 1: {SPEEDS[1]: ran(BASE)}})
    assert open_code(LEFT, RIGHT, runs) == []
    assert runs.asked[-1] == (1, SPEEDS[1])


@pytest.mark.parametrize(
    "runs",
    [
        {},
        {0: dict.fromkeys(SPEEDS, LEFT), 1: dict.fromkeys(SPEEDS, RIGHT)},
        # Some of what lies behind the branch is not all of it, and the other route still lacks the rest.
        {0: {speed: ran({**BASE, "c_probe": ("0 8", "0.2 1")}) for speed in SPEEDS}},
        # Nor is it left out where only some of it is.
        {1: {speed: ran({**BASE, "c_probe": ("0 8", "0.2 1")}) for speed in SPEEDS}},
        # The same functions behind another branch are not this code.
        {0: {speed: ran({**MORE, "a_start": ("0 10 20", "? 1 2")}) for speed in SPEEDS}},
    ],
)
def test_what_no_control_run_shows_stays_unexplained(runs: Mapping[int, Mapping[int, Record]]) -> None:
    made = Runs(runs)
    assert open_code(LEFT, RIGHT, made) == ["code.a_start -> c_probe"]
    assert len(made.asked) == sum(len(mine) + len(others) for mine, others in ROUNDS[:PATIENCE]) - 1, (
        "neither kernel places itself, so there is no run without KASLR"
    )


def test_code_that_depends_on_where_the_kernel_lies() -> None:
    """Only routes whose kernel places itself are tried without KASLR."""
    assert sum(not one.kaslr for one in VARIATIONS) == 1
    placing = at("boot_view/boot_params", lambda params: type(params)({**params, "hdr.loadflags": Hex(KASLR_FLAG)}))
    fixed = at("boot_view/boot_params", lambda params: type(params)({**params, "hdr.loadflags": Hex(0)}))
    made = {0: {0: ran(MORE)}, 1: {0: ran(BASE)}}
    runs = Runs(made)
    assert "code.a_start -> c_probe" in open_code(fixed(LEFT), fixed(RIGHT), runs)
    assert 0 not in [speed for _, speed in runs.asked]
    runs = Runs(made)
    assert open_code(placing(LEFT), placing(RIGHT), runs) == []
    assert (0, 0) in runs.asked


def test_the_same_plan_is_never_tried() -> None:
    runs = Runs({0: {SPEEDS[0]: ran(MORE)}})
    assert open_code(LEFT, replace(RIGHT, route=FIRST), runs) == ["code.a_start -> c_probe"]
    assert runs.asked == []


def test_nothing_is_tried_where_something_else_is_unexplained() -> None:
    runs = Runs({0: {SPEEDS[0]: ran(MORE)}})
    found = open_code(LEFT, replace(RIGHT, console="[    0.000000] BUG: planted\n"), runs)
    assert "code.a_start -> c_probe" in found
    assert len(found) > 1
    assert runs.asked == []


def test_a_plan_of_another_kernel_is_never_tried() -> None:
    other = replace(RIGHT, image=replace(RIGHT.image, sha256="5" * 64))
    runs = Runs({0: {SPEEDS[0]: ran(MORE)}})
    open_code(LEFT, other, runs)
    assert runs.asked == []


def test_only_runs_of_unsettled_pairs_are_repeated() -> None:
    runs = Runs({0: {SPEEDS[0]: ran(MORE)}})
    same = replace(LEFT, route=SECOND)
    comparison = build([LEFT, same, RIGHT], repeat=runs.repeat)
    assert comparison.clean
    assert {number for number, _ in runs.asked} == {0}
    assert not build([LEFT, same, RIGHT]).clean, "without control runs it is not told"
