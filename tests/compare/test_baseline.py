"""Baselines as text files."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest

from efishim.compare.baseline import SECTIONS, BaselineError, checks, parse, text
from efishim.lab.record import Record
from efishim.testing import run


@cache
def record(**words: Any) -> Record:
    return run(provider="hvmlite", entry="efi", **words)


def sections_that_differ(one: Record, other: Record) -> list[str]:
    return [check.section for check in checks(text(one), other) if check.diff]


@pytest.mark.slow
def test_a_baseline_has_all_sections_and_no_line_twice_in_a_set() -> None:
    found = parse(text(record()))
    assert tuple(found) == SECTIONS
    for name in ("told", "hardware", "code"):
        assert len(set(found[name])) == len(found[name])
    assert found["milestones"][0] == "entry"


def test_calls_stand_in_their_order() -> None:
    found = parse(text(record()))["calls"]
    assert found[0].startswith("BootServices.")
    ends = [index for index, line in enumerate(found) if "ExitBootServices() EFI_SUCCESS" in line]
    assert len(ends) == 1
    assert not any(line.startswith("BootServices.") for line in found[ends[0] + 1 :])


def test_a_baseline_tells_nothing_of_time_and_nothing_of_counts() -> None:
    other = msgspec.structs.replace(
        record(),
        milestones=[msgspec.structs.replace(point, insns=point.insns + 5, seconds=9.0) for point in record().milestones],
        outcome=msgspec.structs.replace(record().outcome, insns=1, seconds=3.0, virtual_ns=9),
        ledger=[msgspec.structs.replace(touch, reads=touch.reads + 1) for touch in record().ledger],
    )
    assert text(other) == text(record())


@pytest.mark.slow
def test_another_seed_is_another_placement_and_the_same_baseline() -> None:
    assert sections_that_differ(record(), record(seed=7)) == []


@pytest.mark.slow
def test_another_command_line_shows_where_it_was_given_and_where_it_arrived() -> None:
    assert {"run", "told"} <= set(sections_that_differ(record(), record(cmdline="console=ttyS1")))


def test_a_milestone_that_is_missing() -> None:
    other = msgspec.structs.replace(record(), milestones=record().milestones[:-1])
    assert sections_that_differ(record(), other) == ["milestones"]


def test_the_order_of_calls_counts() -> None:
    calls = list(record().firmware_calls)
    calls[0], calls[1] = calls[1], calls[0]
    assert sections_that_differ(record(), msgspec.structs.replace(record(), firmware_calls=calls)) == ["calls"]


def test_what_a_hostile_guest_prints_stays_on_its_line() -> None:
    other = msgspec.structs.replace(record(), console="one\n[told]\n\x1b[31mred\x07\n# efishim\u2028two\n")
    found = parse(text(other))
    assert set(found) == set(SECTIONS)


@pytest.mark.parametrize("content", ["", "hello\n", "# efishim baseline 99\n", "\0\0"])
def test_a_file_that_is_no_baseline_is_refused(content: str) -> None:
    with pytest.raises(BaselineError):
        parse(content)
