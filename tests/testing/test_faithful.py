"""Providers that do as virtual machine monitors do pass the conformance kit, but for what these do against a specification.

Firecracker's is plugins/example, whose own tests run where it is installed (tests/test_installed.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from efishim_firecracker.provider import Firecracker

from efishim.lab.plan.default_words import default_cmdline, default_ramdisks
from efishim.lab.plan.plan import DEFAULT_MAX_INSNS, Blob
from efishim.lab.record import Milestone
from efishim.testing import ProviderSuite, Subject
from efishim.testing.entered import enter
from tests.support.cloud_hypervisor import MACHINE, CloudHypervisor

SEGMENTS = {"linux32/gdt", "linux32/selectors"}


@pytest.mark.slow
@pytest.mark.unmeasured
class TestCloudHypervisor(ProviderSuite):
    provider = CloudHypervisor()
    machine = MACHINE
    deviations: ClassVar = dict.fromkeys(SEGMENTS, "the code segment is at 8 and the data segment at 0x10, as for PVH")


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("provider", "entry", "deviations"),
    [(Firecracker(), "elf64", {"linux64/gdt", "linux64/selectors"}), (CloudHypervisor(), "pvh", set[str]())],
    ids=["firecracker", "cloud-hypervisor"],
)
def test_a_stock_kernel_is_entered(provider: Any, entry: str, deviations: set[str], cloud_kernel: Path) -> None:
    """Up to start_kernel; to userspace in the same way: `pytest --efishim-kernel`."""
    image = Blob.from_file(cloud_kernel)
    (one,) = (one for one in provider.entries if one.name == entry)
    words = {"cmdline": default_cmdline(image), "initrds": default_ramdisks(image), "max_insns": DEFAULT_MAX_INSNS}
    run = enter(Subject(provider), one, image=image, until=Milestone.START_KERNEL, **words)
    assert run.found == []
    assert run.record is not None
    assert run.record.outcome.met
    assert {one.rule for one in run.violations} == deviations
