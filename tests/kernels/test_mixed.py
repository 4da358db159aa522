"""Mixed mode: a stock 64-bit kernel whose firmware is 32-bit, against the same kernel on 64-bit firmware."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.lab.kernel_log import messages
from tests.kernels.conftest import CMDLINE
from tests.support.milestones import WITHOUT_LOADER
from tests.support.runs import Finished, efishim_run

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

FOUR_GIB = 1 << 32


@pytest.fixture(scope="session")
def mixed(cloud_kernel: Path, shared: Path) -> Finished:
    """The 6.1 kernel for clouds, entered through its .compat record."""
    return efishim_run(shared / f"{cloud_kernel.name}-mixed", cloud_kernel, "-e", "efi-mixed", "-a", CMDLINE)


def test_it_gets_to_userspace_and_power_off(mixed: Finished) -> None:
    assert mixed.status == 0, mixed.stderr
    assert [point.name for point in mixed.record.milestones] == WITHOUT_LOADER
    assert mixed.init["/sys/firmware/efi/fw_platform_size"].lines == ["32"]
    assert any(line.startswith("efi: EFI v2.") and "by efishim" in line for line in messages(mixed.record.console))


def test_the_kernel_asks_32_bit_firmware_what_it_asks_64_bit_firmware(mixed: Finished, cloud_booted: Finished) -> None:
    """The same source of the stub, behind a thunk; also for the runtime services that the kernel proper uses."""
    asked = [[(call.service, call.status) for call in run.record.firmware_calls] for run in (mixed, cloud_booted)]
    assert asked[0] == asked[1]
    assert ("RuntimeServices.SetVirtualAddressMap", "EFI_SUCCESS") in asked[0]
    assert asked[0][-1][0].startswith("RuntimeServices.")


def test_what_the_firmware_hands_out_is_below_4_gib(mixed: Finished) -> None:
    values = [item.value for call in mixed.record.firmware_calls for item in call.results if item.value.startswith("0x")]
    assert values
    assert all(int(value, 16) < FOUR_GIB for value in values)
