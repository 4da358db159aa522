"""The surface of Debian's 6.1 kernel for clouds.

What its stub says when something is missing is in drivers/firmware/efi/libstub. The whole search takes minutes and is asked for
with EFISHIM_FULL=1; otherwise a few items are tried, of which the stub fails early.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Reason
from efishim.lab.run import run_plan
from efishim.surface.model import Mark, encode
from efishim.surface.surface import surface

FULL = os.environ.get("EFISHIM_FULL") == "1"


def plan_of(kernel: Path) -> Plan:
    return Plan(
        image=Blob.from_file(kernel),
        provider="firmware",
        entry="efi",
        platform="pc",
        cmdline=b"console=ttyS0 cryptomgr.notests",
        initrds=(Blob.embedded("embedded:init", efishim_firmware_stubs.reporting_initrd()),),
        default_initrd=True,
        until=Milestone.USERSPACE,
        observers=False,
    )


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("item", "answer", "end"),
    [
        ("SystemTable.Signature", "absent", "image returned EFI_INVALID_PARAMETER"),
        ("protocol:EFI_LOADED_IMAGE_PROTOCOL_GUID", "absent", "image returned EFI_UNSUPPORTED"),
        ("BootServices.AllocatePool", "EFI_NOT_FOUND", "image returned EFI_OUT_OF_RESOURCES"),
        ("BootServices.GetMemoryMap", "EFI_UNSUPPORTED", "image returned EFI_LOAD_ERROR"),
        ("BootServices.ExitBootServices", "EFI_UNSUPPORTED", "image returned EFI_UNSUPPORTED"),
    ],
)
def test_what_the_stub_cannot_do_without(cloud_kernel: Path, item: str, answer: str, end: str) -> None:
    record = run_plan(replace(plan_of(cloud_kernel), without=((item, answer),)))
    assert record.outcome.reason is Reason.EXIT
    assert record.outcome.details == end


@pytest.mark.kernel
def test_all_that_may_refuse_together(cloud_kernel: Path) -> None:
    """Services of whose failure the stub and the kernel make nothing: the run reaches userspace all the same."""
    refusing = ("BootServices.FreePool", "BootServices.LocateProtocol", "BootServices.LocateHandle")
    runtime = ("RuntimeServices.GetVariable", "RuntimeServices.SetVirtualAddressMap")
    without = tuple((name, "EFI_UNSUPPORTED") for name in sorted(refusing + runtime))
    record = run_plan(replace(plan_of(cloud_kernel), without=without))
    assert record.outcome.met
    assert "EFI stub: ERROR: Could not determine UEFI Secure Boot status." in record.console
    assert "efi: Unable to switch EFI into virtual mode" in record.console


@pytest.mark.kernel
@pytest.mark.skipif(not FULL, reason="the whole search takes minutes: EFISHIM_FULL=1")
def test_the_whole_search(cloud_kernel: Path) -> None:
    """Verified anew by runs of our own: enough, and minimal; made twice it is the same document."""
    plan = plan_of(cloud_kernel)
    found = surface(plan, jobs=2)
    assert found.proof.sufficient
    assert found.proof.minimal
    needed = {one.item.text for one in found.marked(Mark.NEEDED)}
    assert {"BootServices.GetMemoryMap", "BootServices.ExitBootServices", "BootServices.AllocatePool"} <= needed
    assert "RuntimeServices.ResetSystem" not in needed
    least = replace(plan, profile=Blob.embedded("least", found.profile.encode()))
    assert run_plan(least).outcome.met
    limit = found.insns_limit
    for one in found.marked(Mark.NEEDED):
        cut = replace(least, without=((one.item.text, "absent"),), max_insns=limit)
        assert not run_plan(cut).outcome.met, one.item.text
    assert encode(surface(plan, jobs=2)) == encode(found)
