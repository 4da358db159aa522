"""Hand-overs that are broken in one way each: the first thing that is said of the run is the cause, whatever came of it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.cli import main
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Reason, Record
from efishim.lab.run import run_plan
from efishim.plugins import GROUP, Registry
from efishim.provider import BootRequest, CpuState, Handover
from efishim.report.text import summary
from tests.support.others import NAME, BrokenGrub, BrokenHvmlite, install, provider, source
from tests.support.tampering import registers, segment, writes

PVH, LINUX64, LINUX32 = ("pvh", BrokenHvmlite), ("linux64", BrokenGrub), ("linux32", BrokenGrub)


@dataclass(frozen=True)
class Case:
    """A fault, and the rule that it breaks first."""

    rule: str
    route: tuple[str, type]
    entering: Callable[[CpuState], CpuState] | None = None
    after: Callable[[Handover, BootRequest, Any], Handover] | None = None


def overwrites(handover: Handover, request: BootRequest, memory: Any) -> Handover:
    """Something is put on top of the kernel."""
    assert request.loaded is not None
    memory.write(request.loaded.base + 0x300, b"overwritten")
    return handover


CASES = [
    Case("pvh/start-info", PVH, registers(rbx=0)),
    Case("pvh/magic", PVH, registers(rbx=0x8000)),
    Case("pvh/cr4", PVH, registers(cr4=0x20)),
    Case("pvh/data", PVH, segment("ds", limit=0xFFFF)),
    Case("pvh/tr", PVH, segment("tr", limit=0xFFFF)),
    Case("pvh/eflags", PVH, registers(eflags=0x202)),
    Case("pvh/rsdp", PVH, after=writes(32, struct.pack("<Q", 0x1000))),
    Case("pvh/memory-map", PVH, after=writes(40, struct.pack("<Q", 0))),
    Case("image/intact", PVH, after=overwrites),
    Case("boot_params/header", LINUX64, registers(rsi=0x8000)),
    Case("boot_params/memory", LINUX64, registers(rsi=0x7000_0000)),
    Case("boot_params/e820", LINUX64, after=writes(0x1E8, b"\0")),
    Case("ramdisk/fields", LINUX64, after=writes(0x21C, bytes(4))),
    Case("boot_params/command-line", LINUX64, after=writes(0x228, bytes(4))),
    Case("linux64/selectors", LINUX64, segment("cs", selector=8)),
    Case("linux64/interrupts", LINUX64, registers(eflags=0x202)),
    Case("image/intact", LINUX64, after=overwrites),
    Case("linux32/zero", LINUX32, registers(rbx=1)),
]


def run(route: tuple[str, type], case: Case | None, **words: Any) -> Record:
    entry, kind = route
    made = provider(kind) if case is None else provider(kind, entering=case.entering, after=case.after)
    registry = Registry([source(made), *entry_points(group=GROUP)])
    plan = Plan(
        image=words.pop("image", None) or Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel()),
        provider=NAME,
        entry=entry,
        platform="pc",
        cmdline=b"console=ttyS0",
        initrds=(Blob.embedded("embedded:init", efishim_firmware_stubs.reporting_initrd()),),
        timeout=60,
        max_insns=words.pop("max_insns", 3_000_000),
        **words,
    )
    return run_plan(plan, registry=registry)


def diagnosis(record: Record) -> list[str]:
    """What is said behind the verdict and the figures."""
    parts = summary(record).split("\n\n")
    return [line for part in parts[3:] for line in part.splitlines()]


def names(cases: Iterable[Case]) -> list[str]:
    return [f"{case.route[0]}-{case.rule}-{number}" for number, case in enumerate(cases)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_the_first_line_is_the_cause(case: Case) -> None:
    record = run(case.route, case)
    first, second, third, *_ = diagnosis(record)
    assert first.startswith(f"the handover at the entry {case.route[0]} violates ")
    assert second.startswith(f"  {case.rule}: ")
    assert third.startswith("      found: ")


@pytest.mark.slow
@pytest.mark.parametrize("route", [PVH, LINUX64, LINUX32], ids=lambda route: route[0])
def test_without_a_fault_nothing_is_said(route: tuple[str, type]) -> None:
    record = run(route, None)
    assert record.outcome.met
    assert record.abi == []
    assert diagnosis(record) == []


@pytest.mark.slow
@pytest.mark.parametrize(("strict", "status"), [([], 0), (["--strict-abi"], 1)])
def test_a_kernel_that_boots_nonetheless_is_told_of_it(
    strict: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CS = 8 at the 64-bit entry, as Firecracker has it, and boot.rst asks for 0x10."""
    install(monkeypatch, source(provider(BrokenGrub, entering=segment("cs", selector=8))))
    assert main(["run", "-p", "vmm", "-e", "linux64", *strict]) == status
    err = capsys.readouterr().err
    for word in ("shutdown reached", "linux64/selectors: CS is __BOOT_CS (0x10)", "found: CS is 0x8", "64-bit Boot Protocol"):
        assert word in err


@pytest.mark.kernel
def test_a_kernel_that_dies_before_its_first_word_says_where(cloud_kernel: Any) -> None:
    """EBX lost: Linux executes UD2 with no IDT loaded. Symbols are found by its page tables."""
    record = run(PVH, CASES[0], image=Blob.from_file(cloud_kernel))
    assert record.outcome.reason is Reason.TRIPLE_FAULT
    assert record.outcome.at is not None
    assert record.outcome.at.function == "xen_prepare_pvh"
    text = diagnosis(record)
    assert text[1].startswith("  pvh/start-info: EBX is the physical address")
    assert any(line.startswith("  exception #UD (vector 6) at xen_prepare_pvh+") for line in text)
    assert any("xen_prepare_pvh" in line and line.endswith(": ud2") for line in text)
    assert any(" pvh_start_xen+" in line for line in text)
