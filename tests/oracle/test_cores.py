"""Cores that QEMU wrote at an entry: what `check` says of them, and that they boot as the machine that they were taken of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from efishim.compare.agreement import agreement
from efishim.dump.entry import entry_of
from efishim.dump.opened import open_dump
from efishim.image.entries import Entry
from efishim.image.opened import read_image_file
from efishim.lab.abi.of_dump import check_dump
from efishim.lab.plan.arguments import Words
from efishim.lab.plan.from_dump import KERNEL, plan_dump
from efishim.lab.record import Reason
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from tests.oracle.conftest import DUMPED, Booted

pytestmark = [pytest.mark.slow, pytest.mark.qemu, pytest.mark.kernel]


@pytest.mark.parametrize("flow", DUMPED)
def test_a_core_boots_to_userspace_as_the_machine_did(flow: str, booted: Booted, cores: Callable[[str], Path]) -> None:
    """The kernel's image is found in the dump; what differs from the live boot has a rule."""
    real = booted(flow)
    plan = plan_dump(load_plugins(), str(cores(flow)), None, Words(platform="", memory=""))
    assert (plan.route, plan.platform, plan.memory) == (f"dump/{flow.partition('/')[2]}", "pc-qemu", real.options.memory)
    assert (plan.image.label, plan.cmdline.decode()) == (KERNEL, real.options.cmdline)
    ours = run_plan(plan)
    assert ours.outcome.reason is Reason.SHUTDOWN
    assert [one.name for one in ours.milestones] == [one.name for one in real.milestones]
    assert ours.entry_view is not None
    assert real.entry_view is not None
    assert ours.entry_view.structures == real.entry_view.structures
    assert ours.entry_view.modules == real.entry_view.modules
    assert ours.boot_view is not None
    found = agreement(ours, real)
    assert [f"{one.difference.path}: {one.difference.left} / {one.difference.right}" for one in found.unexplained] == []


def test_check_names_the_limit_that_qemu_leaves_in_tr(booted: Booted, cores: Callable[[str], Path], cloud_kernel: Path) -> None:
    real = booted("hvmlite/pvh")
    dump = open_dump(cores("hvmlite/pvh"))
    assert entry_of(dump) is Entry.PVH
    found = check_dump(dump, Entry.PVH, read_image_file(cloud_kernel)).violations
    assert [(one.rule, one.found) for one in found] == [("pvh/tr", "it is base 0x0, limit 0xffff, tss-busy")]
    assert [(one.rule, one.found) for one in real.abi or ()] == [(one.rule, one.found) for one in found]
    assert booted("kexec/linux64").abi == []
    assert check_dump(open_dump(cores("kexec/linux64")), Entry.LINUX64).violations == ()
