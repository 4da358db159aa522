"""What is left of a record behind a boot loader, by a record of a loader in front of the probe kernel."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest
from msgspec import UNSET
from msgspec.structs import replace

from efishim.compare.behaviour import behaviour
from efishim.compare.behind_loader import of_the_image
from efishim.lab.plan.loader_disk import LoaderPlan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Coverage, FunctionCoverage, LedgerEntry, Milestone, MilestonePoint, Record
from efishim.lab.run import run_plan

PROBE = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
LATER = 1000


@pytest.fixture(scope="module")
def record() -> Record:
    """The probe started by nobody before it, as if LATER instructions and a line of a loader came first."""
    made = LoaderPlan("test", "way", (("\\EFI\\BOOT\\BOOTX64.EFI", PROBE),))
    plan = Plan(image=PROBE, provider="firmware", entry="efi", platform="pc", max_insns=200_000_000, loader=made)
    found = run_plan(plan)
    assert found.console_before == 0
    return moved(found)


def moved(record: Record) -> Record:
    def point(one: MilestonePoint) -> MilestonePoint:
        return replace(one, insns=one.insns + (0 if one.name is Milestone.LOADER else LATER))

    def touch(one: LedgerEntry) -> LedgerEntry:
        return replace(one, first_insns=one.first_insns + LATER, last_insns=one.last_insns + LATER)

    first = replace(record.firmware_calls[0], insns=10)
    start = replace(record.firmware_calls[0], insns=LATER, service="BootServices.StartImage")
    calls = [replace(call, insns=call.insns + LATER) for call in record.firmware_calls]
    mine = FunctionCoverage(name="loader", part="loader", blocks=1, insns=LATER, offsets="1000")
    return replace(
        record,
        milestones=[point(one) for one in record.milestones],
        firmware_calls=[first, start, *calls],
        coverage=Coverage(functions=[mine, *record.coverage.functions]),
        ledger=[touch(one) for one in record.ledger],
        console="loader\n" + record.console,
        console_before=len("loader\n"),
    )


@pytest.mark.slow
def test_what_came_before_the_entry_is_left_out(record: Record) -> None:
    found = of_the_image(record)
    assert [point.name for point in found.milestones] == [point.name for point in record.milestones[1:]]
    assert len(found.firmware_calls) == len(record.firmware_calls) - 2
    assert found.firmware_calls == record.firmware_calls[2:]
    assert found.console == record.console.removeprefix("loader\n")
    assert found.ledger == record.ledger
    assert not any("loader" in str(fact) for fact in behaviour(found)[0])


@pytest.mark.slow
def test_a_record_without_a_loader_is_left_as_it_is(record: Record) -> None:
    plain = replace(record, options=replace(record.options, loader=UNSET))
    assert of_the_image(plain) is plain


@pytest.mark.slow
def test_of_a_run_that_did_not_come_to_the_image_its_end_is_left(record: Record) -> None:
    found = of_the_image(replace(record, milestones=record.milestones[:1], console_before=UNSET))
    assert (found.milestones, found.console) == ([], "")
    assert found.outcome == record.outcome
