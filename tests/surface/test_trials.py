"""Trials of an earlier search are not made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.firmware.profile import ABSENT, parse_item
from efishim.lab.cache.records import RecordCache
from efishim.lab.cache.store import Store
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob
from efishim.plugins import load_plugins
from efishim.surface import trials as module
from efishim.surface.trials import Changes, NoSurfaceProgress, trials

REGISTRY = load_plugins()


class Heard(NoSurfaceProgress):
    """How often a trial ended."""

    def __init__(self) -> None:
        self.trials = 0

    def trial(self, changes: Changes, *, boots: bool) -> None:
        self.trials += 1


@pytest.mark.slow
@pytest.mark.measured
def test_a_trial_that_was_made_before_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    plan = make_plan(REGISTRY, lambda: blob, Words(until="exit_boot_services"))
    cache = RecordCache(Store(tmp_path / "records", 1 << 24))
    attempts: list[Any] = []
    real = module.attempt

    def counted(*arguments: Any) -> Any:
        attempts.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(module, "attempt", counted)
    changes: list[Changes] = [{}, {parse_item("BootServices.GetMemoryMap"): ABSENT}]
    found = []
    for _ in range(2):
        heard = Heard()
        with trials(plan, jobs=1, progress=heard, interrupt=None, registry=REGISTRY, cache=cache) as runs:
            found.append((runs.boots(changes), runs.count, heard.trials))
    assert found == [([True, False], 2, 2)] * 2
    assert len(attempts) == 2
