"""A run is a function of its inputs: the same record byte for byte, whatever the host does meanwhile; another seed, another
placement.

Ten runs of a whole kernel take minutes and are asked for with EFISHIM_FULL=1. Otherwise the probe kernel runs ten times,
and Debian's 6.1 cloud kernel often enough to be seen under every condition once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from efishim.lab.record import Milestone
from tests.kernels.conftest import CMDLINE
from tests.support.runs import Finished, busy_machine, efishim_run

FULL = "EFISHIM_FULL"
HASH_SEEDS = ("0", "1", "12345", "4294967295", "random")


def assert_same(runs: Sequence[Finished]) -> None:
    """All records are the first one's bytes; otherwise say where they part."""
    first = runs[0].repeatable
    for number, run in enumerate(runs[1:], start=1):
        if run.repeatable != first:
            pair = (first.decode().splitlines(), run.repeatable.decode().splitlines())
            lines = list(difflib.unified_diff(*pair, "run 0", f"run {number}", lineterm="", n=2))
            pytest.fail(f"{len(lines)} lines of difference:\n" + "\n".join(lines[:60]))


def run_often(folder: Path, times: int, *arguments: str | Path) -> list[Finished]:
    """One run after the other, each with the next hash seed; the second half on a busy machine."""

    def one(number: int) -> Finished:
        return efishim_run(
            folder / str(number), *arguments, environment={"PYTHONHASHSEED": HASH_SEEDS[number % len(HASH_SEEDS)]}
        )

    runs = [one(number) for number in range(times // 2)]
    with busy_machine():
        return runs + [one(number) for number in range(times // 2, times)]


@pytest.mark.slow
def test_ten_runs_of_the_probe_kernel_are_one(tmp_path: Path) -> None:
    runs = run_often(tmp_path, 10)
    assert [run.status for run in runs] == [0] * 10
    assert "probe: end" in runs[0].record.console
    assert_same(runs)


@pytest.mark.kernel
def test_runs_of_a_whole_kernel_are_one(cloud_booted: Finished, cloud_kernel: Path, shared: Path) -> None:
    """Against the run that other tests look at: a busy machine and other hash seeds."""
    runs = run_often(shared / "again", 2, cloud_kernel, "-a", CMDLINE)
    assert [run.status for run in runs] == [0, 0]
    assert_same([cloud_booted, *runs])


@pytest.mark.kernel
@pytest.mark.slow
def test_ten_runs_of_a_whole_kernel_are_one(cloud_kernel: Path, tmp_path: Path) -> None:
    if os.environ.get(FULL) != "1":
        pytest.skip(f"ten boots of a kernel take minutes: set {FULL}=1 to have them; three are compared anyway")
    runs = run_often(tmp_path, 10, cloud_kernel, "-a", CMDLINE)
    assert [run.status for run in runs] == [0] * 10
    assert_same(runs)


@pytest.mark.kernel
def test_observers_change_nothing_in_the_guest(cloud_booted: Finished, cloud_kernel: Path, shared: Path) -> None:
    """What only watches must not be seen: the same milestones at the same instruction and guest time, the same console, the
    same firmware calls.
    """
    blind = efishim_run(shared / "blind", cloud_kernel, "-a", CMDLINE, "--no-observers")
    assert blind.status == 0
    for run in (blind, cloud_booted):
        assert run.record.options.observers is (run is cloud_booted)
    milestones = [
        [(point.name, point.insns, point.virtual_ns, point.at and point.at.address) for point in run.record.milestones]
        for run in (blind, cloud_booted)
    ]
    assert milestones[0] == milestones[1]
    assert blind.record.console == cloud_booted.record.console
    calls = [[(c.service, c.args, c.status, c.insns) for c in run.record.firmware_calls] for run in (blind, cloud_booted)]
    assert calls[0] == calls[1]
    assert blind.record.outcome.insns == cloud_booted.record.outcome.insns


@pytest.mark.kernel
def test_the_seed_moves_the_kernel_and_does_so_again(cloud_kernel: Path, tmp_path: Path) -> None:
    """The stub takes its randomness from EFI_RNG_PROTOCOL and RDRAND, both made of the seed. There are about two hundred
    places in 512 MiB, so two of three seeds could meet by accident in physical memory, but not all three.
    """

    def started(seed: int, folder: str = "") -> Finished:
        arguments = (cloud_kernel, "-a", CMDLINE, "--until", "start_kernel", "--seed", str(seed))
        run = efishim_run(tmp_path / f"{seed}{folder}", *arguments)
        assert run.status == 0, run.stderr
        return run

    runs = [started(seed) for seed in range(3)]
    physical = [run.place(Milestone.STARTUP_64) for run in runs]
    virtual = [run.place(Milestone.START_KERNEL) for run in runs]
    assert len(set(physical)) > 1
    assert len(set(virtual)) > 1
    assert len(set(zip(physical, virtual, strict=True))) == 3
    # Moved by whole alignments, nothing else about the places changes.
    assert len({place % (2 << 20) for place in physical}) == len({place % (2 << 20) for place in virtual}) == 1
    assert any(call.service == "RNG.GetRNG" and call.status == "EFI_SUCCESS" for call in runs[0].record.firmware_calls)
    assert_same([runs[1], started(1, " again")])
