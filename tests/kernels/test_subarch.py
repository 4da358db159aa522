"""What each value of hardware_subarch does to a stock kernel: it boots, and some keep it from a PS/2 controller.

Source: arch/x86/kernel/platform-quirks.c (x86_early_init_platform_quirks).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import Finished, efishim_run

PROBED = b"i8042: PNP: No PS/2 controller found."
"""What the i8042 driver says on a machine whose ACPI tables name none; where it is told that there is none it is silent."""


@pytest.fixture(scope="module", params=["pc", "xen", "intel_mid", "5"])
def run(request: pytest.FixtureRequest, cloud_kernel: Path, shared: Path) -> tuple[str, Finished]:
    value = str(request.param)
    folder = shared / f"subarch-{value}"
    words = ("-p", "subarch", "--option", f"subarch.value={value}", "--option", "subarch.data=0x1234")
    return value, efishim_run(folder, cloud_kernel, *words)


@pytest.mark.kernel
@pytest.mark.slow
def test_it_boots(run: tuple[str, Finished]) -> None:
    _, finished = run
    assert finished.status == 0, finished.stderr
    view = finished.record.boot_view
    assert view is not None
    assert view.boot_params["hdr.hardware_subarch_data"] == 0x1234


@pytest.mark.kernel
@pytest.mark.slow
def test_an_intel_mid_has_no_ps2_controller(run: tuple[str, Finished]) -> None:
    value, finished = run
    assert (PROBED in finished.stdout) is (value != "intel_mid")
