"""The probe kernel through firmware/efi tells what it tells on QEMU with OVMF, field by field. What may differ, and why, is in
probe_exceptions.toml: nothing else may, and nothing stands in there that is not needed.
"""

from __future__ import annotations

import tomllib
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from efishim_firmware_stubs import probe_kernel, reporting_initrd

from tests.stubs.conftest import CMDLINE, missing_tools_named
from tests.support import probe_report
from tests.support.probe_fields import fields
from tests.support.probe_report import ProbeReport
from tests.support.qemu import Boot, Ending, Firmware, run
from tests.support.runs import efishim_run, one_at_a_time

EXCEPTIONS: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("probe_exceptions.toml").read_text())["exception"]
ANSWERS = tomllib.loads((Path(__file__).parents[1] / "stubs" / "uefi_answers.toml").read_text())


pytestmark = pytest.mark.qemu


@pytest.fixture(scope="session")
def ours(shared: Path) -> ProbeReport:
    """What the probe kernel says in efishim."""
    done = efishim_run(shared / "probe", "-a", CMDLINE)
    assert done.status == 0, done.stderr
    return probe_report.parse(done.record.console.replace("\r", ""))


@pytest.fixture(scope="session")
def real(shared: Path) -> ProbeReport:
    """What it says on QEMU with OVMF, with the same ramdisk, command line and memory."""
    folder = shared / "ovmf"
    told = folder / "told"
    with one_at_a_time(folder):
        if not told.exists():
            (folder / "kernel").write_bytes(probe_kernel())
            (folder / "initrd").write_bytes(reporting_initrd())
            boot = Boot(kernel=folder / "kernel", initrd=folder / "initrd", append=CMDLINE, firmware=Firmware.OVMF)
            with missing_tools_named():
                outcome = run(boot, folder, timeout=600)
            assert outcome.ending is Ending.POWER_OFF, outcome.serial[-2000:]
            told.write_text(outcome.serial)
    return probe_report.parse(told.read_text())


def explains(exception: dict[str, Any], one: str | None, two: str | None) -> bool:
    """Is this difference of the kind that the exception allows?"""
    if ("efishim" in exception and one != exception["efishim"]) or ("ovmf" in exception and two != exception["ovmf"]):
        return False
    match exception["kind"]:
        case "address":
            return one is not None and two is not None and int(one, 16) != 0 and int(two, 16) != 0
        case "value":
            return one is not None and two is not None
        case "efishim":
            return one is not None and two is None
        case "ovmf":
            return one is None and two is not None
        case "any":
            return True
        case other:
            raise ValueError(f"no kind of exception: {other}")


def compare(one: dict[str, str], two: dict[str, str]) -> tuple[list[str], list[str]]:
    """The differences that nothing explains, and the patterns that explain nothing."""
    unused = {pattern for exception in EXCEPTIONS for pattern in exception["fields"]}
    unexplained = []
    for name in one | two:
        told = one.get(name), two.get(name)
        if told[0] == told[1]:
            continue
        fitting = ((item, pattern) for item in EXCEPTIONS for pattern in item["fields"] if fnmatchcase(name, pattern))
        exception, pattern = next(fitting, ({}, ""))
        if exception and explains(exception, *told):
            unused.discard(pattern)
        else:
            unexplained.append(f"{name}: efishim {told[0]}, OVMF {told[1]}")
    return unexplained, sorted(unused)


def test_the_reports_agree_but_for_what_is_explained(ours: ProbeReport, real: ProbeReport) -> None:
    one, two = fields(ours), fields(real)
    unexplained, unused = compare(one, two)
    assert "\n".join(unexplained) == ""
    assert unused == [], "these patterns explain nothing"
    assert sum(one.get(name) == told for name, told in two.items()) > 200  # it is a comparison of something


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("efi.boot_services.crc", "invalid"),
        ("efi.call.FreePool.null", "SUCCESS"),
        ("efi.call.LoadImage.nothing", "SUCCESS"),  # the exception is for another answer
        ("efi.memory_map.0x6.attr", "0xf"),
        ("acpi.rsdp.xsdt_address", "0x0"),
        ("cpu.mxcsr", "0x0"),
        ("efi.new", "0x1"),
    ],
)
def test_a_defect_would_be_found(ours: ProbeReport, real: ProbeReport, name: str, told: str) -> None:
    unexplained, _ = compare(fields(ours) | {name: told}, fields(real))
    assert [line.partition(":")[0] for line in unexplained] == [name]


def test_every_exception_has_its_reason() -> None:
    for exception in EXCEPTIONS:
        assert set(exception) <= {"fields", "kind", "reason", "efishim", "ovmf"}
        assert len(exception["reason"].split()) > 5
        assert exception["fields"]


def test_every_answer_is_one_that_the_specification_allows(ours: ProbeReport) -> None:
    """The same list that OVMF is held against in tests/stubs/test_probe_efi.py, without what is let stand for OVMF."""
    answers = {name.removeprefix("efi.call."): told for name, told in ours.fields.items() if name.startswith("efi.call.")}
    allowed = {name: [told] if isinstance(told, str) else told for name, told in ANSWERS["call"].items()}
    assert set(answers) == set(allowed)
    assert {name: told for name, told in answers.items() if told not in allowed[name]} == {}
    values = {name: ours.number(f"efi.value.{name}") for name in ANSWERS["value"]}
    assert values == ANSWERS["value"]


def test_the_processor_is_as_the_calling_convention_says(ours: ProbeReport) -> None:
    """UEFI 2.10, 2.3.4: long mode with paging, interrupts on, direction clear, an aligned stack, floating point set up."""
    assert ours.number("cpu.cr0") & 0x80000001 == 0x80000001
    assert ours.number("cpu.efer") & 0x400
    assert ours.number("cpu.rflags") & 0x600 == 0x200
    assert ours.number("cpu.rsp") % 16 == 8  # aligned before the return address
    assert ours.number("cpu.mxcsr") == 0x1F80
    assert ours.number("cpu.fcw") == 0x37F
    assert ours.number("cpu.rdx") == ours.number("efi.system_table")
    assert not [line for line in ours.after if "exception" in line]


def test_all_of_ram_is_told_once(ours: ProbeReport) -> None:
    """The sum that the comparison leaves out: 512 MiB but for the hole below 1 MiB."""
    rows = sorted((int(row["phys"], 16), int(row["pages"], 16) << 12) for row in ours.rows("efi.memory_map"))
    assert all(start + size <= following for (start, size), (following, _) in pairwise(rows))
    assert sum(size for _, size in rows) == (512 << 20) - (0x100000 - 0xA0000)
