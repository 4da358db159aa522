"""A kernel that panics waits for ever, with a delay loop and interrupts on: the run ends, and soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Reason
from efishim.lab.run import run_plan


@pytest.mark.kernel
def test_a_panic_is_an_endless_loop(cloud_kernel: Path) -> None:
    plan = Plan(
        image=Blob.from_file(cloud_kernel),
        provider="firmware",
        entry="efi",
        platform="pc",
        cmdline=b"console=ttyS0 panic=0 root=/dev/nonexistent",
        timeout=240,
    )
    record = run_plan(plan)
    assert record.outcome.reason is Reason.ENDLESS_LOOP, record.outcome
    assert record.outcome.reached is Milestone.START_KERNEL
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in record.console
