"""Do providers pass the command lines of modules? The probe kernel prints what it was told."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest

from efishim.errors import RouteError
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.run import run_plan

MODULES = (Blob("embedded:one", Blob.embedded("", b"one").sha256, 3, data=b"one", command_line=b"root=/dev/sda1 ro"),)


def plan(provider: str, entry: str) -> Plan:
    probe = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    return Plan(probe, provider, entry, "pc", initrds=MODULES, observers=False, max_insns=200_000_000)


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "entry"), [("multiboot", "multiboot"), ("multiboot2", "multiboot2"), ("hvmlite", "pvh")])
def test_the_kernel_is_told(provider: str, entry: str) -> None:
    lines = [line for line in run_plan(plan(provider, entry)).console.splitlines() if "root=/dev/sda1 ro" in line]
    assert len(lines) == 1
    assert "module" in lines[0]


def test_a_structure_without_the_field_is_refused() -> None:
    with pytest.raises(RouteError, match="grub does not pass the command line of a module"):
        run_plan(plan("grub", "linux64"))
