"""Many plans in processes of their own: the same records as one by one, failures that stay with their plan, interruption."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.lab.cache.records import RecordCache
from efishim.lab.cache.store import Store
from efishim.lab.matrix import Result, longest_first, run_matrix
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, MilestonePoint, encode
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins

ROUTES = (("hvmlite", "efi"), ("hvmlite", "pvh"), ("grub", "linux64"), ("lilo", "linux16"))


class Notes:
    """Remembers what a matrix reports."""

    def __init__(self) -> None:
        self.milestones: dict[int, list[str]] = {}
        self.results: dict[int, Result] = {}

    def milestone(self, index: int, point: MilestonePoint) -> None:
        self.milestones.setdefault(index, []).append(point.name.value)

    def tick(self, index: int, insns: int, rate: float) -> None:
        assert insns >= 0
        assert rate >= 0

    def finished(self, index: int, result: Result) -> None:
        assert index not in self.results
        self.results[index] = result


class Set:
    def is_set(self) -> bool:
        return True


def plan(provider: str, entry: str, **words: Any) -> Plan:
    blob = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    return make_plan(load_plugins(), lambda: blob, Words(provider=provider, entry=entry, **words))


@pytest.mark.slow
def test_records_are_those_of_single_runs_byte_for_byte() -> None:
    plans = [plan(*route) for route in ROUTES]
    notes = Notes()
    results = run_matrix(plans, jobs=2, progress=notes)
    assert [result.plan for result in results] == plans
    for index, result in enumerate(results):
        assert result.record is not None
        alone = run_plan(plans[index])
        assert encode(result.record) == encode(alone)
        assert notes.milestones[index] == [point.name.value for point in alone.milestones]
        assert notes.results[index] is result


@pytest.mark.slow
@pytest.mark.measured
def test_one_after_the_other_in_this_process_gives_the_same() -> None:
    plans = [plan(*route) for route in ROUTES[:2]]
    one, other = (run_matrix(plans, jobs=jobs, progress=Notes()) for jobs in (1, 2))
    for a, b in zip(one, other, strict=True):
        assert a.record is not None
        assert b.record is not None
        assert encode(a.record) == encode(b.record)


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("jobs", [1, 2])
def test_what_a_run_raises_stays_with_its_plan(jobs: int, tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(efishim_firmware_stubs.probe_kernel())
    gone = dataclasses.replace(plan("hvmlite", "pvh"), image=Blob.from_file(file))
    file.write_bytes(b"something else")
    results = run_matrix([gone, plan("hvmlite", "pvh")], jobs=jobs, progress=Notes())
    assert results[0].failure is not None
    assert "changed since the plan was made" in results[0].failure.sentence
    assert results[0].record is None
    assert results[1].record is not None
    assert results[1].record.outcome.met


@pytest.mark.slow
@pytest.mark.measured
def test_what_the_cache_has_is_not_run_again(tmp_path: Path) -> None:
    cache, registry = RecordCache(Store(tmp_path / "records", 1 << 24)), load_plugins()
    plans = [plan(*route, until=Milestone.ENTRY.value) for route in ROUTES[:3]]
    (first,) = run_matrix(plans[1:2], jobs=1, progress=Notes(), registry=registry, cache=cache)
    notes = Notes()
    results = run_matrix(plans, jobs=1, progress=notes, registry=registry, cache=cache)
    assert [result.cached for result in results] == [False, True, False]
    assert [result.plan for result in results] == plans
    assert first.record is not None
    assert results[1].record == first.record
    assert notes.results == dict(enumerate(results))
    assert all(names == ["entry"] for names in notes.milestones.values())
    assert len(notes.milestones) == 3
    again = run_matrix(plans, jobs=2, progress=Notes(), registry=registry, cache=cache)
    assert [(one.cached, one.record) for one in again] == [(True, one.record) for one in results]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_nothing_begins_after_an_interruption(jobs: int) -> None:
    results = run_matrix([plan(*route) for route in ROUTES], jobs=jobs, progress=Notes(), interrupt=Set())
    begun = [result for result in results if result.record is not None]
    assert len(begun) <= jobs
    assert all(result.failure is None for result in results)


def test_what_takes_longest_begins_first() -> None:
    plans = [
        plan("hvmlite", "pvh"),
        plan("hvmlite", "efi", until=Milestone.ENTRY.value),
        plan("hvmlite", "efi"),
        plan("grub", "linux64"),
    ]
    assert longest_first(plans) == [2, 3, 0, 1]
