"""The summary that people read after a run."""

from __future__ import annotations

import msgspec
import pytest

from efishim.lab.record import (
    CodeRef,
    Hex,
    Milestone,
    MilestonePoint,
    Outcome,
    Reason,
    encode,
)
from efishim.report.json import Json
from efishim.report.text import Text, summary, verdict
from tests.records import a_record

REPLACE = msgspec.structs.replace


def test_the_summary_says_what_a_reader_asks() -> None:
    text = summary(a_record(outcome=REPLACE(a_record().outcome, seconds=4.75)))
    for fact in (
        "vmlinuz through firmware/efi on pc",
        "105,000,000",
        "1,234,567,890",
        "1.500 s",
        "shutdown reached",
        "1 firmware call, ",
        "1.23 G instructions in 4.75 s",
    ):
        assert fact in text
    assert "not reproducible" not in text


def test_host_times_that_a_file_does_not_have_are_not_shown() -> None:
    text = summary(a_record())
    assert "seconds" not in text
    assert "1.23 G instructions\n" in text + "\n"


@pytest.mark.parametrize("seconds", [0.0, 4.75])
def test_columns_stand_under_their_headers(seconds: float) -> None:
    lines = summary(a_record(outcome=REPLACE(a_record().outcome, seconds=seconds))).splitlines()
    header = next(line for line in lines if "instructions" in line and "milestone" in line)
    rows = [line for line in lines if line.startswith("  ") and line.split()[0] in set(Milestone)]
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(header)}


def test_a_run_without_milestones_says_so() -> None:
    assert "none was passed" in summary(a_record(milestones=[]))


def test_dropped_calls_are_counted_and_notes_are_shown() -> None:
    text = summary(a_record(firmware_calls_dropped=41, notes=["the guest asked for a TPM"]))
    assert "42 firmware calls" in text
    assert "note: the guest asked for a TPM" in text


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.SHUTDOWN])
def test_every_failure_names_goal_reason_and_place(reason: Reason) -> None:
    outcome = Outcome(
        reached=Milestone.STARTUP_64,
        goal=Milestone.SHUTDOWN,
        met=False,
        reason=reason,
        at=CodeRef(address=Hex(0xFFFFFFFF81000000), symbol="panic+0x1"),
    )
    text = verdict(outcome)
    assert text.startswith("shutdown not reached")
    assert reason.value in text
    assert "panic+0x1" in text
    assert "startup_64" in text


def test_a_place_without_symbol_is_an_address() -> None:
    outcome = Outcome(
        reached=None, goal=Milestone.ENTRY, met=False, reason=Reason.TRIPLE_FAULT, at=CodeRef(address=Hex(0x1000))
    )
    assert "at 0x1000" in verdict(outcome)
    assert "no milestone was passed" in verdict(outcome)


def test_a_run_that_the_host_ended_is_marked() -> None:
    outcome = REPLACE(a_record().outcome, reason=Reason.TIMEOUT, met=False, reproducible=False)
    assert "not reproducible" in summary(a_record(outcome=outcome))


def test_text_ends_the_console_with_a_line_end() -> None:
    assert Text().render(a_record(console="no line end")).startswith("no line end\nvmlinuz")
    assert Text().render(a_record(console="")).startswith("vmlinuz")


def test_json_is_the_canonical_record() -> None:
    record = a_record(milestones=[MilestonePoint(name=Milestone.ENTRY, insns=0, seconds=0.0)])
    assert Json().render(record).encode() == encode(record)
