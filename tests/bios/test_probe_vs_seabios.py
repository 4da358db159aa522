"""The probe kernel asks both BIOSes the same questions: efishim's, and SeaBIOS on QEMU. What may differ is in
seabios_exceptions.toml.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from efishim_firmware_stubs import probe_kernel, reporting_initrd

from efishim.bios.config import Display
from tests.bios.linux16 import load
from tests.stubs.conftest import CMDLINE, missing_tools_named
from tests.support import probe_report
from tests.support.probe_fields import fields
from tests.support.qemu import Boot, Ending, run

EXCEPTIONS: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("seabios_exceptions.toml").read_text())["exception"]
COMPARED = (
    "entry",
    "bios.*",
    "cpu.[c-g]s",
    "cpu.ss",
    "cpu.esp",
    "cpu.cr0",
    "cpu.a20",
    "cpu.idtr.*",
    "boot_params.e820*",
    "boot_params.screen_info.*",
    "boot_params.cmdline",
    "acpi.rsdp_found",
)
"""The rest is the loader's, the platform's or the processor's."""
QEMU_DISPLAY = {Display.NONE: "none", Display.TEXT: "std"}

pytestmark = pytest.mark.qemu

Told = dict[str, str]


def compared(serial: str) -> Told:
    told = fields(probe_report.parse(serial))
    return {name: value for name, value in told.items() if any(fnmatchcase(name, pattern) for pattern in COMPARED)}


@pytest.fixture(scope="module", params=list(Display), ids=lambda display: display.value)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Display, Told, Told]:
    """The display, what efishim's BIOS said, what SeaBIOS said."""
    display: Display = request.param
    folder = tmp_path_factory.mktemp("seabios")
    (folder / "kernel").write_bytes(probe_kernel())
    (folder / "initrd").write_bytes(reporting_initrd())
    vga = ("-vga", QEMU_DISPLAY[display])
    boot = Boot(kernel=folder / "kernel", initrd=folder / "initrd", append=CMDLINE, extra=vga)
    with missing_tools_named():
        real = run(boot, folder)
    assert real.ending is Ending.POWER_OFF, real.serial[-2000:]
    ours = load(probe_kernel(), CMDLINE, display=display)
    assert ours.run(max_insns=20_000_000).reason == "shutdown"
    return display, compared(ours.serial.decode().replace("\r", "")), compared(real.serial)


def differences(display: Display, one: Told, two: Told) -> tuple[list[str], set[str]]:
    """What nothing explains, and the patterns that explain nothing."""
    applicable = [item for item in EXCEPTIONS if item.get("display", display.value) == display.value]
    unused = {pattern for item in applicable for pattern in item["fields"]}
    unexplained = []
    for name in sorted(one | two):
        ours, real = one.get(name), two.get(name)
        if ours == real:
            continue
        fitting = ((item, pattern) for item in applicable for pattern in item["fields"] if fnmatchcase(name, pattern))
        item, pattern = next(fitting, ({}, ""))
        if item and item.get("efishim", ours) == ours and item.get("seabios", real) == real:
            unused.discard(pattern)
        else:
            unexplained.append(f"{name}: efishim {ours}, SeaBIOS {real}")
    return unexplained, unused


def test_the_two_agree_but_for_what_is_explained(told: tuple[Display, Told, Told]) -> None:
    unexplained, unused = differences(*told)
    assert "\n".join(unexplained) == ""
    assert unused == set(), "these patterns explain nothing"
    _, ours, real = told
    assert sum(ours.get(name) == value for name, value in real.items()) > 200  # it is a comparison of something


@pytest.mark.parametrize(
    "name", ["bios.int12_0000.eax", "bios.int15_8800.eax", "boot_params.e820.1.addr", "bios.int13_4100.flags"]
)
def test_a_defect_would_be_found(told: tuple[Display, Told, Told], name: str) -> None:
    display, ours, real = told
    unexplained, _ = differences(display, ours | {name: "0x55"}, real)
    assert [line.partition(":")[0] for line in unexplained] == [name]
