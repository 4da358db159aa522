"""Xen starts a stock kernel as its PV dom0: how far that gets, and which of the kernel's entry code runs. EFISHIM_FULL=1."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from efishim_firmware_stubs import reporting_initrd

from efishim.image.opened import open_image
from efishim.image.symbols import Symbols
from efishim.lab.record import Milestone
from tests.support.kernels import DebianKernels, Flavour
from tests.support.runs import Finished, efishim_run

FULL = os.environ.get("EFISHIM_FULL") == "1"
pytestmark = [pytest.mark.kernel, pytest.mark.skipif(not FULL, reason="a dom0 takes three minutes: EFISHIM_FULL=1")]

LINE = "console=com1 com1=115200,8n1 noreboot dom0_mem=600M"
DOM0_LINE = "console=hvc0 earlyprintk=xen"
RUN = ("startup_xen", "xen_start_kernel", "x86_64_start_reservations", "start_kernel")
SKIPPED = ("startup_64", "x86_64_start_kernel")

Fetch = Callable[[str], Path]


@pytest.fixture(scope="module")
def kernel(debian_kernels: DebianKernels, debian_kernel: Fetch) -> Path:
    """A kernel that is built to be a dom0, which those for clouds are not."""
    return debian_kernel(debian_kernels.package(Flavour.GENERIC_6_12))


@pytest.fixture(scope="module")
def dom0(kernel: Path, debian_kernel: Fetch, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run, from Xen's first instruction on."""
    ramdisk = tmp_path_factory.mktemp("dom0") / "initrd"
    ramdisk.write_bytes(reporting_initrd())
    modules = ("--module", f"{kernel}={DOM0_LINE}", "--module", str(ramdisk))
    named = ("--option", "multiboot2.loader_name=GRUB 2 of sorts")
    xen = debian_kernel("xen-hypervisor-4.17-amd64")
    return efishim_run(shared / "xen-pv", xen, "-r", "multiboot2/multiboot2", "-m", "1G", "-a", LINE, *named, *modules)


def test_the_dom0_comes_to_its_power_off(dom0: Finished) -> None:
    assert [point.name for point in dom0.record.milestones] == [Milestone.ENTRY, Milestone.USERSPACE, Milestone.SHUTDOWN]
    assert dom0.record.outcome.met
    assert "efishim-init: begin" in dom0.record.console, "through Xen's console"
    assert "Hypervisor detected: Xen PV" in dom0.record.console
    assert f"Command line: {DOM0_LINE}" in dom0.record.console, "its first word too"


def test_userspace_is_no_kernel_in_ring_3(dom0: Finished) -> None:
    point = next(one for one in dom0.record.milestones if one.name is Milestone.USERSPACE)
    assert point.at is not None
    assert point.at.address < 1 << 47


def test_pv_skips_the_entry_code_of_the_other_ways(dom0: Finished, kernel: Path) -> None:
    symbols = open_image(kernel.read_bytes(), path=str(kernel)).symbols
    assert isinstance(symbols, Symbols)
    ran = {int(word, 16) for one in dom0.record.coverage.functions if one.part == "elsewhere" for word in one.offsets.split()}
    assert {name: symbols.address_of(name) in ran for name in (*RUN, *SKIPPED)} == {
        **dict.fromkeys(RUN, True),
        **dict.fromkeys(SKIPPED, False),
    }
