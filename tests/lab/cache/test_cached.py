"""A run that was made before costs no run, and looks the same."""

from __future__ import annotations

import threading
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.lab.cache.cached import run_cached
from efishim.lab.cache.records import RecordCache
from efishim.lab.cache.store import Store
from efishim.lab.debugger import DebugRequest
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.progress import NoProgress
from efishim.lab.record import Milestone, MilestonePoint, Reason, encode
from efishim.plugins import load_plugins

REGISTRY = load_plugins()
PLAN = Plan(
    image=Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel()),
    provider="hvmlite",
    entry="pvh",
    platform="pc",
    max_insns=200_000_000,
    timeout=100.0,
)


class Heard(NoProgress):
    """What a run reports, and its console."""

    def __init__(self) -> None:
        self.milestones: list[Milestone] = []
        self.notes: list[str] = []
        self.console = b""

    def milestone(self, point: MilestonePoint) -> None:
        self.milestones.append(point.name)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def hear(self, data: bytes) -> None:
        self.console += data


@pytest.fixture
def cache(tmp_path: Path) -> RecordCache:
    return RecordCache(Store(tmp_path / "records", 1 << 24))


def test_the_second_run_is_the_first_ones_record(cache: RecordCache, runs: list[Plan]) -> None:
    first, second = Heard(), Heard()
    one = run_cached(PLAN, cache=cache, registry=REGISTRY, progress=first, console=first.hear)
    other = run_cached(PLAN, cache=cache, registry=REGISTRY, progress=second, console=second.hear)
    assert runs == [PLAN]
    assert encode(one) == encode(other)
    assert other.outcome.seconds == one.outcome.seconds
    assert second.console == first.console != b""
    assert second.milestones == first.milestones
    assert [note for note in second.notes if note not in first.notes] != []
    assert cache.store.usage().files == 1
    again = run_cached(PLAN, cache=None, registry=REGISTRY)
    assert len(runs) == 2
    assert encode(again) == encode(one), "two runs have the same bytes"


def test_an_interrupted_run_is_not_kept(cache: RecordCache) -> None:
    event = threading.Event()
    event.set()
    record = run_cached(PLAN, cache=cache, registry=REGISTRY, interrupt=event)
    assert record.outcome.reason is Reason.INTERRUPTED
    assert cache.store.usage().files == 0


def test_who_looks_inside_gets_a_run_and_it_is_not_kept(cache: RecordCache, runs: list[Plan]) -> None:
    said: list[str] = []
    run_cached(PLAN, cache=cache, registry=REGISTRY)
    run_cached(PLAN, cache=cache, registry=REGISTRY, debug=DebugRequest(say=said.append, write=said.append))
    assert len(runs) == 2
