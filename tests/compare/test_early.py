"""Hardware that one route touches on its way to startup_64, in runs that end there or soon behind it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from efishim.compare.pair import compare
from efishim.compare.rules import Class
from efishim.lab.record import Hex, LedgerEntry, LedgerKind, Milestone, MilestonePoint, Record, RouteName
from tests.compare.changes import at
from tests.records import a_record

RULE = "hardware that one route touches early"
TOUCHED = LedgerEntry(kind=LedgerKind.PORT, what="0x21", device="pic", group="PIC", reads=1, first_insns=10, last_insns=40)
POINTS = [
    MilestonePoint(name=Milestone.ENTRY, insns=0, seconds=0),
    MilestonePoint(name=Milestone.STARTUP_64, insns=50, seconds=0),
]


def early(until: Milestone = Milestone.STARTUP_64, *ledger: LedgerEntry, provider: str = "grub") -> Record:
    plain = a_record(ledger=list(ledger), milestones=POINTS, route=RouteName(provider=provider, entry="linux64", platform="pc"))
    outcome = replace(plain.outcome, goal=until, reached=Milestone.STARTUP_64, met=True)
    return replace(plain, options=replace(plain.options, until=until), outcome=outcome)


SCREEN = LedgerEntry(kind=LedgerKind.MMIO, what="0xb8000-0xb8f9c", group="VGA", writes=4, first_insns=10, last_insns=40)


def screen(left: Record, right: Record) -> list[str | None]:
    found = [one for one in compare(left, right).judged if one.difference.path == "hardware.VGA.mmio search"]
    return [one.verdict.rule.name if one.verdict.rule is not None else None for one in found]


def with_screen(one: Record, lines: int) -> Record:
    told = {"screen_info.orig_video_lines": Hex(lines), "screen_info.orig_video_cols": Hex(80)}
    return at("boot_view/boot_params", lambda params: type(params)({**params, **told}))(one)


def test_text_on_the_screen_that_was_told() -> None:
    one = early(Milestone.STARTUP_64, SCREEN)
    other = with_screen(early(Milestone.STARTUP_64, provider="kexec"), 25)
    assert screen(with_screen(one, 25), other) == ["text on the screen before the kernel proper"]
    assert screen(with_screen(one, 24), other) == [None], "behind the last line"
    strange = early(Milestone.STARTUP_64, replace(SCREEN, what="0xb8000-zz"))
    assert screen(with_screen(strange, 25), other) == [None]
    late = early(Milestone.STARTUP_64, replace(SCREEN, last_insns=51))
    assert screen(with_screen(late, 25), other) == [None]


def verdicts(left: Record, right: Record) -> list[str | None]:
    """Of what differs in hardware: names of rules."""
    found = [one for one in compare(left, right).judged if one.difference.path == "hardware.PIC.port 0x21"]
    return [one.verdict.rule.name if one.verdict.rule is not None else None for one in found]


@pytest.mark.parametrize("until", [Milestone.STARTUP_64, Milestone.START_KERNEL])
def test_what_the_other_route_has_not_come_to(until: Milestone) -> None:
    assert verdicts(early(until, TOUCHED), early(until, provider="kexec")) == [RULE]
    assert verdicts(early(until, provider="kexec"), early(until, TOUCHED)) == [RULE]


def missed(one: Record) -> Record:
    return replace(one, outcome=replace(one.outcome, met=False))


@pytest.mark.parametrize(
    "change",
    [
        lambda one: early(Milestone.USERSPACE, *one.ledger),  # both come to what the kernel does
        lambda one: early(Milestone.STARTUP_64, replace(TOUCHED, last_insns=51)),  # touched behind startup_64 as well
        lambda one: replace(one, milestones=POINTS[:1]),
        missed,
        lambda one: early(Milestone.STARTUP_64, replace(TOUCHED, device="")),  # nothing answered
    ],
)
def test_what_it_has_come_to_is_unexplained(change: Callable[[Record], Record]) -> None:
    one = change(early(Milestone.STARTUP_64, TOUCHED))
    other = early(one.options.until, provider="kexec")
    assert verdicts(one, other) == [None]


def test_another_goal_or_the_same_plan_is_unexplained() -> None:
    one = early(Milestone.STARTUP_64, TOUCHED)
    assert verdicts(one, early(Milestone.START_KERNEL, provider="kexec")) == [None]
    assert verdicts(one, early(Milestone.STARTUP_64)) == [None]
    assert Class.UNEXPLAINED in {judged.verdict.kind for judged in compare(one, early(Milestone.STARTUP_64)).judged}
