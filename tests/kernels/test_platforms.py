"""Stock Debian kernels on the platforms `hvmlite`, `kvm` and `pc-qemu`, through their EFI stub: who kicked them is firmware,
what the machine is they find out by themselves.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from efishim.lab.kernel_log import GRAVE, findings, messages
from efishim.lab.record import LedgerKind, Reason
from tests.support.kernels import DebianKernels, Flavour
from tests.support.milestones import WITHOUT_LOADER
from tests.support.runs import Finished, efishim_run

pytestmark = pytest.mark.kernel

CMDLINE = "console=ttyS0 loglevel=8"
PLATFORMS = ("hvmlite", "kvm", "pc-qemu")
KNOWN_COMPLAINTS = {"hvmlite": {"tsc: Fast TSC calibration failed"}, "kvm": set(), "pc-qemu": set()}
"""What these kernels say on the real thing too: they first try the PIT, which a PVH guest does not have, and take the
frequency from Xen then (arch/x86/kernel/tsc.c, native_calibrate_cpu_early()).
"""


SHARES = {
    # of the kernels that are not tried on every platform, the platform that each is tried on; all with EFISHIM_FULL=1
    Flavour.GENERIC_6_1: "hvmlite",
    Flavour.RT_6_1: "kvm",
    Flavour.GENERIC_6_12: "pc-qemu",
}


def pairs(*platforms: str) -> list[object]:
    """(platform, kernel) for a fixture."""
    full = os.environ.get("EFISHIM_FULL") == "1"
    return [
        pytest.param((platform, kernel), id=f"{platform}-{kernel}")
        for platform in platforms
        for kernel in Flavour
        if full or SHARES.get(kernel, platform) == platform
    ]


Pair = tuple[str, Flavour]
Boot = Callable[[Pair], Finished]


@pytest.fixture(scope="session")
def boot(debian_kernels: DebianKernels, debian_kernel: Callable[[str], Path], shared: Path) -> Boot:
    """Run a kernel on a platform to power-off."""

    def run(pair: Pair) -> Finished:
        platform, kernel = pair
        path = debian_kernel(debian_kernels.package(kernel))
        finished = efishim_run(shared / f"{platform}-{path.name}", path, "--platform", platform, "-a", CMDLINE)
        assert finished.record.route.platform == platform
        return finished

    return run


@pytest.fixture(scope="session", params=pairs(*PLATFORMS))
def guest(request: pytest.FixtureRequest, boot: Boot) -> Finished:
    """Kernels on each platform beside `pc`."""
    return boot(request.param)


@pytest.fixture(scope="session", params=pairs("hvmlite"))
def xen_guest(request: pytest.FixtureRequest, boot: Boot) -> Finished:
    """Those on `hvmlite`."""
    return boot(request.param)


@pytest.fixture(scope="session", params=pairs("kvm"))
def kvm_guest(request: pytest.FixtureRequest, boot: Boot) -> Finished:
    """Those on `kvm`."""
    return boot(request.param)


@pytest.fixture(scope="session", params=pairs("pc-qemu"))
def qemu_guest(request: pytest.FixtureRequest, boot: Boot) -> Finished:
    """Those on `pc-qemu`."""
    return boot(request.param)


def said(run: Finished, *patterns: str) -> None:
    """Each pattern matches the beginning of a message of the kernel."""
    lines = messages(run.record.console)
    for pattern in patterns:
        assert any(re.match(pattern, line) for line in lines), f"no {pattern!r} in\n" + "\n".join(lines)


def test_to_userspace_and_power_off(guest: Finished) -> None:
    assert guest.status == 0, guest.stderr
    record = guest.record
    assert [point.name for point in record.milestones] == WITHOUT_LOADER
    assert all(before.insns < after.insns for before, after in pairwise(record.milestones))
    assert record.outcome.reason is Reason.SHUTDOWN
    assert guest.init["/proc/sys/kernel/tainted"].lines == ["0"]


def test_the_log_has_nothing_grave(guest: Finished) -> None:
    console = guest.record.console
    assert len(messages(console)) > 200
    found = findings(console)
    assert [finding for finding in found if finding.kind in GRAVE] == []
    assert {finding.text for finding in found} <= KNOWN_COMPLAINTS[guest.record.route.platform]


def test_the_ledger_knows_everything_of_the_hypervisor(guest: Finished) -> None:
    name = {"hvmlite": "Xen", "kvm": "KVM", "pc-qemu": "nobody"}[guest.record.route.platform]
    for entry in guest.record.ledger:
        if entry.kind is LedgerKind.HYPERCALL or entry.group == name:
            assert entry.device == entry.group == name
            assert entry.writes + entry.reads > 0


def test_a_xen_guest_uses_xen(xen_guest: Finished) -> None:
    said(
        xen_guest,
        r"Hypervisor detected: Xen HVM",
        r"Xen [Vv]ersion:? 4\.17\.",
        r"xen:events: Using 2-level ABI",
        r"xen:events: Xen HVM callback vector for event delivery is enabled",
        r"Xen: using vcpuop timer interface",
        r"installing Xen timer for CPU 0",
        r"clocksource: Switched to clocksource xen",
        r"Grant table initialized",
        r"ACPI: FACP 0x00000000FC00[0-9A-F]{4} 00010C \(v05 Xen    HVM ",
    )
    interrupts = xen_guest.init["/proc/interrupts"].lines
    ticks = next(line for line in interrupts if line.endswith("timer0"))
    assert "xen-percpu" in ticks
    assert int(ticks.split()[1]) > 20
    calls = {entry.what for entry in xen_guest.record.ledger if entry.kind is LedgerKind.HYPERCALL}
    assert {"xen_version.6", "memory_op.7", "vcpu_op.8", "event_channel_op.1", "hvm_op.0"} <= calls


def test_no_legacy_device_answers_a_xen_guest(xen_guest: Finished) -> None:
    devices = {entry.device for entry in xen_guest.record.ledger}
    assert not devices & {"PIC", "PIT", "CMOS", "i8042", "VGA", "PCI", "A20", "HPET", "IOAPIC"}
    groups = {entry.group for entry in xen_guest.record.ledger}
    assert "PIT" in groups, "the kernel asks nevertheless"


def test_a_kvm_guest_uses_its_clock(kvm_guest: Finished) -> None:
    said(
        kvm_guest,
        r"Hypervisor detected: KVM",
        r"kvm-clock: Using msrs 4b564d01 and 4b564d00",
        r"kvm-clock: using sched offset of \d+ cycles",
        r"Booting (?:paravirtualized )?kernel on KVM",
        r"clocksource: Switched to clocksource kvm-clock",
    )
    msrs = {entry.what for entry in kvm_guest.record.ledger if entry.group == "KVM"}
    assert {"0x4b564d00", "0x4b564d01"} <= msrs


def test_a_guest_of_qemu_finds_its_machine(qemu_guest: Finished) -> None:
    """The same lines as under QEMU with OVMF: processor, tables, chipset and clocks."""
    said(
        qemu_guest,
        r"SMBIOS 2\.8 present\.",
        r"DMI: QEMU Standard PC \(i440FX \+ PIIX, 1996\), BIOS 0\.0\.0 02/06/2015",
        r"ACPI: FACP 0x[0-9A-F]{16} 000074 \(v01 BOCHS  BXPC ",
        r"ACPI: HPET id: 0x8086a201 base: 0xfed00000",
        r"IOAPIC\[0\]: apic_id 0, version 32, address 0xfec00000, GSI 0-23",
        r"smpboot: CPU0: AMD QEMU Virtual CPU version 2\.5\+ \(family: 0xf, model: 0x6b, stepping: 0x1\)",
        r"hpet0: at MMIO 0xfed00000, IRQs 2, 8, 0",
        r"hpet0: 3 comparators, 64-bit 100\.000000 MHz counter",
        r"pci 0000:00:01\.3: \[8086:7113\]",
        r"pci 0000:00:01\.0: PIIX3: Enabling Passive Release",
    )
    devices = {entry.device for entry in qemu_guest.record.ledger}
    assert {"HPET", "PCI", "ACPI", "IOAPIC"} <= devices
    assert not devices & {"i8042", "VGA", "IDE"}


@pytest.mark.parametrize("route", ["hvmlite/pvh", "hvmlite/efi", "grub/linux32", "grub/efi", "lilo/linux16", "kexec/linux64"])
def test_every_way_leads_through_a_guest_of_qemu(cloud_kernel: Path, tmp_path: Path, route: str) -> None:
    provider, entry = route.split("/")
    run = efishim_run(tmp_path, cloud_kernel, "-p", provider, "-e", entry, "--platform", "pc-qemu")
    assert run.status == 0, run.stderr
    assert [finding for finding in findings(run.record.console) if finding.kind in GRAVE] == []


@pytest.mark.parametrize("feature", ["hpet=0", "pci=0", "pit=0", "acpi=0", "mtrr=0", "rdrand=1", "hypervisor=0", "uefi=0"])
def test_a_guest_of_qemu_without_something(cloud_kernel: Path, tmp_path: Path, feature: str) -> None:
    run = efishim_run(tmp_path, cloud_kernel, "--platform", "pc-qemu", "--option", f"platform.{feature}")
    assert run.init["/proc/sys/kernel/tainted"].lines == ["0"]


@pytest.mark.parametrize("feature", ["fadt_no_vga=0", "fadt_no_rtc=0"])
def test_by_the_fadt_a_kernel_knows_pvh_from_hvm(cloud_kernel: Path, tmp_path: Path, feature: str) -> None:
    """arch/x86/xen/enlighten_hvm.c, xen_hvm_guest_late_init(): no VGA and no CMOS clock make a guest a PVH guest. That is
    the flag of which the thread of 2016 asked who sets it.
    """
    other = efishim_run(tmp_path, cloud_kernel, "--platform", "hvmlite", "--option", f"platform.{feature}")
    assert other.status == 0, other.stderr
    said(other, r"Booting (?:paravirtualized )?kernel on Xen HVM")


def test_a_xen_guest_is_pvh(xen_guest: Finished) -> None:
    said(xen_guest, r"Booting (?:paravirtualized )?kernel on Xen PVH")


@pytest.mark.parametrize("features", [("ioapic=1",), ("upcall_vector=0",), ("fadt_hw_reduced=1",), ("bios_area=1",)])
def test_other_machines_of_the_kind(cloud_kernel: Path, tmp_path: Path, features: tuple[str, ...]) -> None:
    options = [word for feature in features for word in ("--option", f"platform.{feature}")]
    run = efishim_run(tmp_path, cloud_kernel, "--platform", "hvmlite", *options)
    assert run.status == 0, run.stderr
    assert [finding for finding in findings(run.record.console) if finding.kind in GRAVE] == []


def test_the_console_of_xen(cloud_kernel: Path, tmp_path: Path) -> None:
    """Without a serial port, as Xen's guests are."""
    arguments = ("--platform", "hvmlite", "--option", "platform.serial=0", "-a", "console=hvc0")
    run = efishim_run(tmp_path, cloud_kernel, *arguments)
    assert run.status == 0, run.stderr
    assert run.init["/proc/consoles"].lines[0].startswith("hvc0")
    assert "serial" not in {entry.device for entry in run.record.ledger}


def test_xenstore_is_there(xen_guest: Finished) -> None:
    """Its interrupt was taken, and the bus came up."""
    lines = xen_guest.init["/proc/interrupts"].lines
    (bus,) = [line for line in lines if line.endswith("xenbus")]
    assert int(bus.split()[1]) > 10


@pytest.mark.parametrize("name", PLATFORMS)
def test_runs_are_repeatable(cloud_kernel: Path, shared: Path, tmp_path: Path, name: str) -> None:
    arguments = (cloud_kernel, "--platform", name, "-a", CMDLINE)
    first = efishim_run(shared / f"{name}-{cloud_kernel.name}", *arguments)
    again = efishim_run(tmp_path, *arguments, environment={"PYTHONHASHSEED": "4242"})
    assert first.status == again.status == 0
    assert first.repeatable == again.repeatable
