"""A kernel that panics waits for ever, with a delay loop and interrupts on: the run ends soon, with the kernel's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import LastMoments, Milestone, Reason
from efishim.lab.run import run_plan
from efishim.report.text import summary

pytestmark = pytest.mark.slow


@pytest.mark.kernel
def test_a_panic_is_an_end_of_its_own(cloud_kernel: Path) -> None:
    plan = Plan(
        image=Blob.from_file(cloud_kernel),
        provider="firmware",
        entry="efi",
        platform="pc",
        cmdline=b"console=ttyS0 panic=0 root=/dev/nonexistent",
        timeout=240,
    )
    record = run_plan(plan)
    outcome = record.outcome
    assert outcome.reason is Reason.PANIC, outcome
    assert outcome.details.startswith("VFS: Unable to mount root fs")
    assert outcome.at is not None
    assert outcome.at.function == "mount_block_root"
    assert outcome.reached is Milestone.START_KERNEL
    assert "Kernel panic - not syncing: VFS: Unable to mount root fs" in record.console
    last = record.last_moments
    assert isinstance(last, LastMoments)
    # Its messages and no 10 seconds of waiting.
    assert outcome.virtual_ns - record.milestones[-1].virtual_ns < 5_000_000_000
    assert [one.function for one in last.backtrace[:3]] == ["mount_block_root", "prepare_namespace", "kernel_init_freeable"]
    assert any("Kernel panic - not syncing: " in line for line in last.log)
    assert last.code[0].at.symbol == "panic+0x0"
    text = summary(record)
    assert text.index("the kernel panicked: VFS") < text.index("registers (long64, when panic() was called)")


@pytest.mark.kernel
def test_a_panic_that_restarts_is_one_too_and_needs_no_console(cloud_kernel: Path) -> None:
    """`panic=-1`; and without a console the kernel's log has the words. The PVH entry has no decompressor."""
    plan = Plan(
        image=Blob.from_file(cloud_kernel),
        provider="hvmlite",
        entry="pvh",
        platform="pc",
        cmdline=b"panic=-1 root=/dev/nonexistent",
        timeout=240,
    )
    record = run_plan(plan)
    assert record.outcome.reason is Reason.PANIC, record.outcome
    assert record.console == ""
    assert record.outcome.details.startswith("VFS: Unable to mount root fs")
    assert record.outcome.details.endswith("; then: reset")
