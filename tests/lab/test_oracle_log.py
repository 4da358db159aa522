"""What healthy means: the reference machine itself has no grave complaints, so any in efishim would be new."""

from __future__ import annotations

from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.lab.kernel_log import GRAVE, findings, messages
from tests.support.oracle_log import oracle_log


@pytest.mark.qemu
@pytest.mark.kernel
def test_a_stock_kernel_on_real_firmware_has_nothing_grave_to_say(request: pytest.FixtureRequest, cloud_kernel: Path) -> None:
    assert request.config.cache is not None
    console = oracle_log(cloud_kernel, efishim_firmware_stubs.reporting_initrd(), request.config.cache)
    assert [finding for finding in findings(console) if finding.kind in GRAVE] == []
    lines = messages(console)
    assert any(line.startswith("efi: EFI v2.") for line in lines)
    assert any(line.startswith("efishim-init: end") for line in lines)
    assert any("Preparing to enter system sleep state S5" in line for line in lines)
    # The second time it comes from the cache and is the same.
    assert oracle_log(cloud_kernel, efishim_firmware_stubs.reporting_initrd(), request.config.cache) == console
