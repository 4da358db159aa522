"""Stock Debian kernels through their own EFI stub to userspace and power-off, with no command-line crutch."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from efishim_firmware_stubs import reporting_init, reporting_initrd
from efishim_firmware_stubs.cpio import Entry, archive

from efishim.lab.kernel_log import GRAVE, findings, messages, new_findings
from efishim.lab.record import Milestone, Reason
from tests.kernels.conftest import CMDLINE
from tests.support.milestones import WITHOUT_LOADER
from tests.support.oracle_log import oracle_log
from tests.support.runs import Finished, efishim_run

pytestmark = pytest.mark.kernel

CRUTCHES = re.compile(r"\b(acpi=|no_?lapic|noapic|nokaslr|tsc=|clocksource=|lpj=|pci=|noefi|efi=|nomodeset|maxcpus=|nosmp)")
KALLSYMS_BASE = 0xFFFF_FFFF_8000_0000
START = 0x100_0000
"""CONFIG_PHYSICAL_START of Debian's kernels: where they lie, in physical memory and from KALLSYMS_BASE on, without KASLR."""
MIB = 1 << 20


def said(run: Finished, pattern: str) -> re.Match[str]:
    """The first message of the kernel that a pattern matches from its beginning on."""
    lines = messages(run.record.console)
    found = next((match for line in lines if (match := re.match(pattern, line))), None)
    assert found is not None, f"no {pattern!r} in\n" + "\n".join(lines)
    return found


def test_all_milestones_in_order_and_power_off(booted: Finished) -> None:
    assert booted.status == 0, booted.stderr
    record = booted.record
    assert [point.name for point in record.milestones] == WITHOUT_LOADER
    assert all(before.insns < after.insns for before, after in pairwise(record.milestones))
    assert all(before.virtual_ns <= after.virtual_ns for before, after in pairwise(record.milestones))
    assert record.outcome.reason is Reason.SHUTDOWN
    assert record.outcome.met
    assert (record.route.provider, record.route.entry, record.route.platform) == ("firmware", "efi", "pc")
    assert record.options.cmdline == CMDLINE
    assert not CRUTCHES.search(CMDLINE)


def test_milestones_are_where_their_names_say(booted: Finished) -> None:
    """By symbols out of the image's own kallsyms, which are found independently of the instruction counts."""
    symbols = {point.name: point.at.symbol for point in booted.record.milestones if point.at is not None}
    assert symbols[Milestone.STARTUP_64] == "startup_64+0x0"
    assert symbols[Milestone.START_KERNEL] == "start_kernel+0x0"
    assert symbols[Milestone.USERSPACE] is None  # not the kernel's code
    assert booted.place(Milestone.USERSPACE) < 1 << 47


def test_kaslr_moved_the_kernel(booted: Finished) -> None:
    """In physical memory and in its own half of the address space, in steps of 2 MiB as the kernel's alignment is."""
    code = next(line for line in booted.init["/proc/iomem"].lines if line.endswith(" : Kernel code"))
    physical = int(code.split("-")[0], 16)
    assert physical == booted.place(Milestone.STARTUP_64) & -2 * MIB
    assert physical != START
    assert physical % (2 * MIB) == 0
    assert booted.place(Milestone.START_KERNEL) > KALLSYMS_BASE + START


def test_the_log_has_nothing_grave_that_real_firmware_does_not_cause(
    booted: Finished, stock_kernel: Path, request: pytest.FixtureRequest
) -> None:
    """BUG, Oops, WARNING, Call Trace, Firmware Bug. A log without any is as good as the best reference, so QEMU with OVMF
    boots the same kernel only when there is something to compare.
    """
    console = booted.record.console
    assert len(messages(console)) > 200  # it is the kernel's log that was looked at
    grave = [finding for finding in findings(console) if finding.kind in GRAVE]
    if not grave:
        return
    assert request.config.cache is not None
    reference = oracle_log(stock_kernel, reporting_initrd(), request.config.cache, cmdline=CMDLINE)
    assert new_findings(console, reference, kinds=GRAVE) == []


def test_the_kernel_complains_of_no_clock_and_no_interrupt(booted: Finished) -> None:
    """More than the list of grave words: a calibration that failed, an interrupt that nobody handled, an EFI call refused."""
    said_so = [finding.text for finding in findings(booted.record.console) if finding.kind not in GRAVE]
    assert said_so == []


def test_the_console_has_all_that_the_kernel_said_before_the_report(booted: Finished) -> None:
    """The last message before userspace, on kernels whose consoles are printed to by threads as well."""
    before, begin, _ = booted.record.console.partition("efishim-init: begin")
    assert begin
    assert messages(before)[-1] == "Run /init as init process"


def test_a_console_of_threads_that_is_not_waited_for_loses_lines(realtime_kernel: Path, shared: Path, tmp_path: Path) -> None:
    """The counter-case: an init that finds no thread of that name, and turns the console off at once."""
    init = reporting_init()
    assert init.count(b"pr/\0") == 1
    ramdisk = tmp_path / "initrd"
    ramdisk.write_bytes(
        archive(
            [
                Entry.directory("dev"),
                Entry.character_device("dev/console", 5, 1),
                Entry.file("init", init.replace(b"pr/\0", b"pr?\0"), 0o755),
            ]
        )
    )
    run = efishim_run(shared / "not-waited", realtime_kernel, "-a", CMDLINE, "-i", ramdisk)
    assert run.status == 0, run.stderr
    assert "Run /init as init process" not in messages(run.record.console.partition("efishim-init: begin")[0])


def test_acpi_tables_are_in_use(booted: Finished) -> None:
    for table in ("RSDP", "XSDT", "FACP", "DSDT", "APIC"):
        said(booted, rf"ACPI: {table} 0x[0-9A-F]{{16}} ")
    said(booted, r"ACPI: Using ACPI \(MADT\) for SMP configuration information")
    said(booted, r"ACPI: 1 ACPI AML tables successfully acquired and loaded")
    said(booted, r"ACPI: Interpreter enabled")
    said(booted, r"ACPI: PM: \(supports S0 (?:S\d )*S5\)")
    said(booted, r"ACPI: Using IOAPIC for interrupt routing")
    listed = {line.split()[0] for line in booted.init["/sys/firmware/acpi/tables"].lines}
    assert {"APIC", "DSDT", "FACP", "FACS"} <= listed


def test_the_apic_timer_is_calibrated_and_ticks(booted: Finished) -> None:
    """With CPUID leaf 15H the kernel has nothing to measure: the timer runs at the crystal's frequency, and it says so only
    with apic=verbose ("already calibrated", in ticks per jiffy; arch/x86/kernel/apic/apic.c). Without the leaf it measures
    and prints a result. That the number is right shows in what came of it: the timer's interrupts, HZ a second.
    """
    said(booted, r"APIC: Switch to symmetric I/O mode setup")
    period = int(said(booted, r"(?:lapic timer already calibrated|\.+ calibration result:) (\d+)")[1])
    hz = 250  # CONFIG_HZ of Debian's kernels
    crystal = (
        2_100_000_000  # CPUID.15H:ECX of the platform, checked against the manuals in tests/platform/devices/test_cpuid.py
    )
    assert period == crystal // hz
    local = next(line for line in booted.init["/proc/interrupts"].lines if line.strip().startswith("LOC:"))
    seconds = booted.point(Milestone.USERSPACE).virtual_ns / 1e9
    # It starts ticking a little after power-on, and an idle kernel lets ticks out (nohz).
    assert 0.2 * hz * seconds < int(local.split()[1]) < 1.2 * hz * seconds
    assert booted.init["/sys/devices/system/clocksource/clocksource0/current_clocksource"].lines == ["tsc"]


def is_realtime(run: Finished) -> bool:
    """PREEMPT_RT: CONFIG_EFI_DISABLE_RUNTIME is its default, since firmware may hold a processor for too long
    (drivers/firmware/efi/Kconfig). `efi=runtime` turns the services on.
    """
    return " PREEMPT_RT " in said(run, r"Linux version .*")[0]


def check_runtime_services(run: Finished) -> None:
    """Mapped, called at their new addresses, registered with the kernel, and seen from userspace."""
    said(run, r"(?:efivars: )?Registered efivars operations")
    start_kernel = run.point(Milestone.START_KERNEL).insns
    late = {call.service: call for call in run.record.firmware_calls if call.insns > start_kernel}
    assert late["RuntimeServices.SetVirtualAddressMap"].status == "EFI_SUCCESS"
    assert "RuntimeServices.GetNextVariableName" in late
    runtime = run.init["/sys/firmware/efi/runtime-map"].lines
    types = {int(line.split("type=0x")[1].split()[0], 16) for line in runtime}
    assert {5, 6} <= types  # EfiRuntimeServicesCode and EfiRuntimeServicesData
    assert all(" virt_addr=0xffffff" in line for line in runtime)  # below -4 GiB, where Linux maps them


def test_the_kernel_is_an_efi_kernel_and_uses_the_runtime_services(booted: Finished) -> None:
    said(booted, r"efi: EFI v2\.\d+ by efishim")
    exits = [call.status for call in booted.record.firmware_calls if call.service == "BootServices.ExitBootServices"]
    assert exits == ["EFI_SUCCESS"]
    if is_realtime(booted):
        # Its own default, on every machine: test_runtime_services_of_the_realtime_kernel asks for them.
        assert booted.init["/sys/firmware/efi/runtime-map"].lines == []
        return
    check_runtime_services(booted)


def test_runtime_services_of_the_realtime_kernel(realtime_kernel: Path, shared: Path) -> None:
    run = efishim_run(shared / "realtime", realtime_kernel, "-a", f"{CMDLINE} efi=runtime")
    assert run.status == 0, run.stderr
    assert is_realtime(run)
    check_runtime_services(run)


def test_userspace_finds_the_firmware(booted: Finished) -> None:
    report = booted.init
    assert report["/sys/firmware/efi"].error == 0
    assert report["/sys/firmware/efi/fw_platform_size"].lines == ["64"]
    assert any(line.startswith("ACPI20=0x") for line in report["/sys/firmware/efi/systab"].lines)
    assert report["/proc/cmdline"].lines == [CMDLINE]
    assert report["/proc/sys/kernel/tainted"].lines == ["0"]


def test_power_off_is_the_machines(booted: Finished) -> None:
    """By ACPI's S5 or by ResetSystem; the kernel's own words come last, and behind them only the end."""
    assert messages(booted.record.console)[-1] in {"reboot: Power down", "ACPI: PM: Preparing to enter system sleep state S5"}
    at = booted.record.outcome.at
    by_firmware = booted.record.firmware_calls[-1].service == "RuntimeServices.ResetSystem"
    assert by_firmware or (at is not None and at.symbol is not None and at.symbol.startswith("acpi_"))


def test_memory_of_the_host(booted: Finished) -> None:
    """At most what the guest uses and 250 MiB. Counted as used: the file, and the kernel unpacked without its bss; a guest
    uses more, so the bound is tighter than what is promised.
    """
    kernel = [line.split(" : ") for line in booted.init["/proc/iomem"].lines if " : Kernel " in line]
    unpacked = sum(
        int(ends.split("-")[1], 16) + 1 - int(ends.split("-")[0], 16) for ends, name in kernel if name != "Kernel bss"
    )
    assert unpacked > 10 * MIB
    assert booted.resident < booted.record.image.size + unpacked + 250 * MIB


def test_memory_that_the_guest_does_not_touch_costs_nothing(tmp_path: Path) -> None:
    small, large = (efishim_run(tmp_path / size, "-m", size) for size in ("512M", "16G"))
    assert (small.status, large.status) == (0, 0)
    assert "efi.memory_map" in large.record.console
    # A little for page tables and the like: 16 GiB of 2 MiB pages have 64 KiB of them.
    assert large.resident < small.resident + 16 * MIB
