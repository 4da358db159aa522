"""A 32-bit kernel: through its 32-bit entry, and through its EFI entry with 32-bit firmware, also as shim."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim import testing
from efishim.compare.pair import compare
from efishim.lab.record import Milestone
from tests.support.control_runs import unexplained
from tests.support.kernels import I386_6_1
from tests.support.milestones import WITHOUT_LOADER
from tests.support.runs import Finished, efishim_run

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

CMDLINE = "console=ttyS0 one=two three"
NATIVE = [one for one in WITHOUT_LOADER if one not in (Milestone.EXIT_BOOT_SERVICES, Milestone.STARTUP_64)]
EFI = [one for one in WITHOUT_LOADER if one is not Milestone.STARTUP_64]


@pytest.fixture(scope="session")
def i386_kernel(debian_kernel: Callable[[str], Path]) -> Path:
    """The kernel of Debian's installer for i386."""
    return debian_kernel(I386_6_1)


@pytest.fixture(scope="session")
def by_grub(i386_kernel: Path, shared: Path) -> Finished:
    """Through its 32-bit entry."""
    return efishim_run(shared / "i386-grub-linux32", i386_kernel, "-p", "grub", "-e", "linux32", "-a", CMDLINE)


@pytest.fixture(scope="session")
def by_efi(i386_kernel: Path, shared: Path) -> Finished:
    """Through its EFI stub."""
    return efishim_run(shared / "i386-efi", i386_kernel, "-a", CMDLINE)


def test_it_reports_and_powers_off(by_grub: Finished, by_efi: Finished) -> None:
    for run, milestones in ((by_grub, NATIVE), (by_efi, EFI)):
        assert run.status == 0, run.stderr
        assert [point.name for point in run.record.milestones] == milestones
        assert run.record.abi == []
        assert run.init["argv"].lines == ["/init", "three"]
        assert "one=two" in run.init["envp"].lines
        assert run.init["/proc/version"].lines[0].startswith("Linux version 6.1.")
        assert f"init size={len(efishim_firmware_stubs.reporting_init(wide=False))}" in run.init["/"].lines
        assert "reboot: Power down" in run.record.console


def test_its_firmware_is_32_bit(by_efi: Finished) -> None:
    assert by_efi.init["/sys/firmware/efi/fw_platform_size"].lines == ["32"]
    asked = [call.service for call in by_efi.record.firmware_calls]
    assert "BootServices.ExitBootServices" in asked
    assert "RuntimeServices.SetVirtualAddressMap" in asked
    assert by_efi.record.boot_view is not None
    assert by_efi.record.boot_view.boot_params["efi_info.efi_loader_signature"] == "EL32"


def test_its_code_has_names_where_kaslr_put_it(by_grub: Finished, by_efi: Finished) -> None:
    places = set()
    for run in (by_grub, by_efi):
        (start_kernel,) = [point.at for point in run.record.milestones if point.name is Milestone.START_KERNEL]
        assert start_kernel is not None
        assert start_kernel.symbol == "start_kernel+0x0"
        places.add(start_kernel.address)
        assert run.record.coverage is not None
        assert run.record.coverage.trace[0] == "startup_32+0x0"
        parts = {part.name for part in run.record.coverage.parts}
        assert {"decompressor", "kernel"} <= parts
    assert len(places) == 2, "from different entropy"


def test_what_differs_between_its_ways_is_explained(by_grub: Finished, by_efi: Finished) -> None:
    assert unexplained({("efi", "grub"): compare(by_efi.record, by_grub.record)}) == []


def test_a_start_info_comes_to_it_through_a_32_bit_shim(i386_kernel: Path) -> None:
    record = testing.run(i386_kernel, provider="hvmlite", entry="efi", cmdline=CMDLINE, until="start_kernel")
    assert record.outcome.met
    assert record.abi == []
    assert record.boot_view is not None
    assert record.boot_view.command_line is not None
    assert record.boot_view.command_line.text == CMDLINE
