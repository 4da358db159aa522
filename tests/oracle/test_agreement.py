"""efishim against real firmware: nothing unexplained for what agrees, and every planted difference found."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from efishim_firmware_stubs import reporting_initrd

from efishim.compare.agreement import FIELDS, agreement, call_order, field_class, iomem, oracle_rules
from efishim.compare.facts import read_fact
from efishim.lab.plan.arguments import find_profile
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import BootView, Fields, Hex, Milestone, Record
from efishim.lab.run import run_plan
from efishim.oracle.boot_flows import find_boot_flow
from efishim.plugins import load_plugins
from tests.oracle.conftest import CMDLINE, Booted

pytestmark = pytest.mark.qemu

PVH = "hvmlite/pvh"
DIRECT = "lilo/linux16+linuxboot"


@pytest.fixture(scope="module")
def emulated(cloud_kernel: Path) -> Callable[[str], Record]:
    """A function from the name of a way to what efishim records of the route beside it."""
    done: dict[str, Record] = {}

    def run(name: str) -> Record:
        if name not in done:
            flow = find_boot_flow(name)
            initrd = Blob.embedded("embedded:init", reporting_initrd())
            image = Blob.from_file(cloud_kernel)
            plan = Plan(
                image,
                flow.provider,
                flow.entry.value,
                "pc-qemu",
                cmdline=CMDLINE + flow.adds,
                initrds=(initrd,),
                options=flow.options,
                profile=find_profile(flow.profile, load_plugins().profiles) if flow.profile else None,
            )
            done[name] = run_plan(plan)
        return done[name]

    return run


@pytest.mark.parametrize("name", [PVH, DIRECT, "firmware/efi"])
def test_nothing_is_unexplained(booted: Booted, emulated: Callable[[str], Record], name: str) -> None:
    found = agreement(emulated(name), booted(name))
    assert [f"{one.difference}" for one in found.unexplained] == []
    rows = {row.name: row for row in found.rows}
    assert rows["milestones and end"].explained == 0
    assert rows["the kernel's copy of it"].identical > 25
    assert rows["kernel log"].identical > 150
    assert rows["processor at startup_64"].identical > 20
    assert sum(row.identical for row in found.rows) > 350


def test_the_stub_calls_the_same_services_in_the_same_order(booted: Booted, emulated: Callable[[str], Record]) -> None:
    ours, real = (call_order(record.firmware_calls) for record in (emulated("firmware/efi"), booted("firmware/efi")))
    common = set(ours) & set(real)
    assert [call for call in ours if call in common] == [call for call in real if call in common]
    assert len(common) > 20
    assert "call.LoadFile2.LoadFile(end, FALSE) EFI_SUCCESS" in {call.path for call in common}


Change = Callable[[BootView], BootView]
replace = msgspec.structs.replace


def _field(name: str, value: int) -> Change:
    def change(view: BootView) -> BootView:
        assert view.boot_params[name] != value
        return replace(view, boot_params=Fields.of({**view.boot_params, name: value}))

    return change


def _smaller(view: BootView) -> BootView:
    rows = [replace(row, size=Hex(0x8000000)) if row.addr == 0x100000 else row for row in view.e820]
    return replace(view, e820=tuple(rows))


def _other_ramdisk(view: BootView) -> BootView:
    assert view.initrd is not None
    return replace(view, initrd=replace(view.initrd, sha256="0" * 64))


def _paging_off(view: BootView) -> BootView:
    return replace(view, cpu=replace(view.cpu, mode="protected32"))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (_field("hdr.type_of_loader", 0xFF), "startup_64.boot_params.hdr.type_of_loader"),
        (_field("hdr.version", 0x20B), "startup_64.boot_params.hdr.version"),
        (_field("secure_boot", 0x3), "startup_64.boot_params.secure_boot"),
        (_field("kbd_status", 0x1), "startup_64.boot_params.kbd_status"),
        (_field("hdr.hardware_subarch", 0x2), "startup_64.boot_params.hdr.hardware_subarch"),
        (_smaller, "startup_64.e820.usable"),
        (_other_ramdisk, "startup_64.initrd.sha256"),
        (_paging_off, "startup_64.cpu.mode"),
    ],
)
def test_a_defect_of_what_is_told_would_be_found(booted: Booted, change: Change, path: str) -> None:
    real = booted(DIRECT)
    assert real.boot_view is not None
    ours = replace(real, boot_view=change(real.boot_view), route=replace(real.route, platform="pc-qemu"))
    assert path in [one.difference.path for one in agreement(ours, real).unexplained]


def test_a_record_agrees_with_itself(booted: Booted) -> None:
    real = booted(PVH)
    found = agreement(real, real)
    assert found.judged == ()
    assert all((row.explained, row.unexplained) == (0, 0) for row in found.rows)


def test_a_complaint_of_the_kernel_is_never_explained(booted: Booted) -> None:
    real = booted(PVH)
    line = "[    0.500000] ACPI: BUG: unable to handle page fault\n[    0.600000] WARNING: CPU: 0 PID: 1 at hpet.c:1\n"
    ours = msgspec.structs.replace(real, console=line + real.console)
    assert any("WARNING" in one.difference.path for one in agreement(ours, real).unexplained)


BUSY_HOST = (
    "..MP-BIOS bug: 8254 timer not connected to IO-APIC",
    "pci 0000:00:01.3: quirk_piix4_acpi+0x0/0x180 took 11718 usecs",
    "workqueue: fbcon_register_existing_fbs hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND",
    "hrtimer: interrupt took 15172948 ns",
    "sched: RT throttling activated",
)
"""What kernels say of a host that was busy: the forms are those of the functions that the rules cite."""


@pytest.mark.parametrize("line", BUSY_HOST)
def test_what_a_busy_host_causes_is_explained_on_qemu_alone(booted: Booted, line: str) -> None:
    """QEMU's clock is the host's; ours is not, so the same line of ours is a finding."""
    real, form = booted(PVH), re.sub(r"\d+", "", line)
    said = (one for one in real.console.splitlines(keepends=True) if not re.sub(r"\d+", "", one).rstrip().endswith(form))
    quiet = replace(real, console="".join(said))
    busy = replace(quiet, console=f"[    0.100000] {line}\n{quiet.console}")
    ours = replace(quiet.route, platform="pc-qemu")
    assert agreement(replace(quiet, route=ours), busy).unexplained == ()
    assert len(agreement(replace(busy, route=ours), quiet).unexplained) == 1


def test_memory_that_userspace_does_not_see_is_found(booted: Booted) -> None:
    real = booted(PVH)
    ranges = [line for line in real.console.splitlines() if line.endswith(" : System RAM")]
    last = next(line for line in ranges if line.startswith("| 00100000-"))
    shorter = last.replace(last.split("-")[1].split(" ")[0], "0fffffff")
    ours = msgspec.structs.replace(
        real,
        console=real.console.replace(last, shorter),
        route=msgspec.structs.replace(real.route, platform="pc-qemu"),
    )
    paths = [one.difference.path for one in agreement(ours, real).unexplained]
    assert [path for path in paths if path.startswith("userspace./proc/iomem[0x10000000-")] == paths != []


def test_the_outermost_ranges_of_iomem(booted: Booted) -> None:
    """Linux's kernel/resource.c, r_show(): two spaces for each level."""
    areas = iomem(booted(PVH))
    names = {area.kind for area in areas}
    assert {"System RAM", "Reserved", "PCI Bus 0000:00", "Local APIC"} <= names
    assert not any("Kernel" in name for name in names)
    assert areas[0].start == 0
    assert all(area.start < area.end for area in areas)
    assert iomem(msgspec.structs.replace(booted(PVH), console="")) == ()


def test_a_milestone_that_is_missing_is_found(booted: Booted) -> None:
    real = booted(PVH)
    ours = msgspec.structs.replace(real, milestones=[one for one in real.milestones if one.name is not Milestone.USERSPACE])
    assert [one.difference.path for one in agreement(ours, real).unexplained] == ["milestone.userspace"]


def test_calls_in_another_order_are_found(booted: Booted) -> None:
    real = booted("firmware/efi")
    calls = list(real.firmware_calls)
    first = next(n for n, call in enumerate(calls) if call.service == "RuntimeServices.GetVariable")
    calls[first], calls[first + 1] = calls[first + 1], calls[first]
    ours = msgspec.structs.replace(real, firmware_calls=calls)
    assert [one.difference.path for one in agreement(ours, real).unexplained] == ["call.order"]


def test_every_rule_has_its_reason_and_a_source() -> None:
    names = [rule.name for rule in oracle_rules()]
    assert len(set(names)) == len(names)
    for rule in oracle_rules():
        assert len(rule.reason.split()) > 5, rule.name
        assert len(rule.source) > 10, rule.name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("entry.cpu.cr0", "processor at the entry"),
        ("entry.hvm_start_info.magic", "native structure"),
        ("startup_64.cpu.rsp", "processor at startup_64"),
        ("startup_64.e820[0x0-0x1000]", "memory map (e820)"),
        ("startup_64.boot_params.hdr.version", "boot_params"),
        ("start_kernel.command_line", "the kernel's copy of it"),
        ("log.Linux version", "kernel log"),
        ("machine.msr.0x1b", "other"),
    ],
)
def test_each_fact_has_its_class(path: str, name: str) -> None:
    assert field_class(read_fact(path)) == name
    assert name in [*(one for one, _ in FIELDS), "other"]
