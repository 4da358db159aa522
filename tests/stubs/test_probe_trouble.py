"""Trouble on request: `probe=...` on the command line, and what the machine makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_elf

from tests.stubs.conftest import Runner
from tests.support import probe_report
from tests.support.qemu import Boot, Ending, run

pytestmark = pytest.mark.qemu

PAGE_FAULT_READ_ABSENT = 0


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """The probe kernel as an ELF file."""
    path = tmp_path / "probe.elf"
    path.write_bytes(probe_elf())
    return path


@pytest.mark.parametrize(
    ("option", "vector", "error"),
    [("de", 0, 0), ("bp", 3, 0), ("ud", 6, 0), ("gp", 13, 0), ("pf", 14, PAGE_FAULT_READ_ABSENT)],
)
def test_exceptions_reach_the_kernels_own_table(qemu: Runner, kernel: Path, option: str, vector: int, error: int) -> None:
    outcome = qemu(Boot(kernel=kernel, append=f"a=b probe={option} c"))
    report = probe_report.parse(outcome.serial)
    told = next(line for line in report.after if line.startswith("probe: exception "))
    values = dict(pair.split("=") for pair in told.removeprefix("probe: exception ").split())
    assert (int(values["vector"], 16), int(values["error"], 16)) == (vector, error)
    if option == "pf":
        assert int(values["cr2"], 16) == 0x7FFFFFFFF000
    assert int(values["rip"], 16) - report.number("image.base") == int(values["image_offset"], 16)
    assert outcome.ending is Ending.POWER_OFF


@pytest.mark.parametrize("option", ["triplefault", "reset"])
def test_resets(qemu: Runner, kernel: Path, option: str) -> None:
    assert qemu(Boot(kernel=kernel, append=f"probe={option}")).ending is Ending.RESET


@pytest.mark.parametrize("option", ["spin", "halt"])
def test_never_ending(qemu: Runner, kernel: Path, option: str, tmp_path: Path) -> None:
    said = "probe: halt" if option == "halt" else "probe: begin"
    for seconds in (3, 60):
        outcome = run(Boot(kernel=kernel, append=f"probe={option}"), tmp_path, timeout=seconds)
        assert outcome.ending is Ending.TIMEOUT
        if said in outcome.serial:
            break  # otherwise the host was too busy for the probe to get anywhere in so short a time
    assert said in outcome.serial
    assert ("probe: halt" in outcome.serial) is (option == "halt")


@pytest.mark.parametrize("option", ["", "probe=", "probe=spinning", "probe=nothing", "xprobe=ud", "probe"])
def test_anything_else_is_no_option(qemu: Runner, kernel: Path, option: str) -> None:
    outcome = qemu(Boot(kernel=kernel, append=option))
    assert outcome.ending is Ending.POWER_OFF
    assert probe_report.parse(outcome.serial).after == ("probe: power off by acpi",)


def test_power_off_by_hardware_reduced_acpi(qemu: Runner, kernel: Path) -> None:
    """QEMU's microvm has a sleep control register in memory, and an S5 type that is not 0."""
    outcome = qemu(Boot(kernel=kernel, append="", machine="microvm,acpi=on"))
    assert outcome.ending is Ending.POWER_OFF
    assert probe_report.parse(outcome.serial).after == ("probe: power off by acpi",)
