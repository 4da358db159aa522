"""Complaints of kernels: the wordings are those that the kernel's own format strings produce."""

from __future__ import annotations

import pytest

from efishim.lab.kernel_log import GRAVE, Complaint, classify, findings, messages, new_findings, normalise

WARNING = """\
[    1.234567] ------------[ cut here ]------------
[    1.234600] WARNING: CPU: 0 PID: 1 at arch/x86/mm/ioremap.c:105 __ioremap_caller+0x1e3/0x210
[    1.234700] Call Trace:
[    1.234710]  <TASK>
[    1.234720]  ? acpi_os_map_iomem+0x1a/0x20
"""


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", Complaint.PANIC),
        ("traps: PANIC: double fault, error_code: 0x0", Complaint.PANIC),
        ("Oops: 0002 [#1] PREEMPT SMP NOPTI", Complaint.OOPS),
        ("Oops: general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1]", Complaint.OOPS),
        ("general protection fault, maybe for address 0x0: 0000 [#1] PREEMPT SMP NOPTI", Complaint.OOPS),
        ("invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", Complaint.OOPS),
        ("BUG: kernel NULL pointer dereference, address: 0000000000000008", Complaint.BUG),
        ("kernel BUG at mm/slub.c:4023!", Complaint.BUG),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]", Complaint.STALL),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", Complaint.STALL),
        ("------------[ cut here ]------------", Complaint.WARNING),
        ("WARNING: CPU: 0 PID: 0 at kernel/irq/manage.c:1991 free_irq+0x10/0x20", Complaint.WARNING),
        ("Call Trace:", Complaint.CALL_TRACE),
        ("[Firmware Bug]: TSC doesn't count with P0 frequency!", Complaint.FIRMWARE_BUG),
        ("efi: [Firmware Bug]: Invalid EFI memory map entries:", Complaint.FIRMWARE_BUG),
        ("..MP-BIOS bug: 8254 timer not connected to IO-APIC", Complaint.FIRMWARE_BUG),
        ("ACPI BIOS Error (bug): A valid RSDP was not found (20220331/tbxfroot-210)", Complaint.FIRMWARE_BUG),
        ("efi: [Firmware Warn]: VA address range overflow!", Complaint.FIRMWARE_WARNING),
        ("ACPI Error: Could not enable RealTimeClock event (20220331/evxfevnt-182)", Complaint.ACPI_ERROR),
        ("ACPI Warning: Could not enable fixed event - RealTimeClock (4) (20220331/evxface-618)", Complaint.ACPI_WARNING),
        ("unchecked MSR access error: RDMSR from 0x1a0 at rIP: 0xffffffff81069ea4 (init_intel+0x24/0x4b0)",
         Complaint.UNCHECKED_MSR),
        ("mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 5: be00000000800400", Complaint.HARDWARE_ERROR),
        ('irq 4: nobody cared (try booting with the "irqpoll" option)', Complaint.INTERRUPT),
        ("No irq handler for 0.55", Complaint.INTERRUPT),
        ("...trying to set up timer as Virtual Wire IRQ...", Complaint.INTERRUPT),
        ("clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable because the skew is too large:",
         Complaint.CLOCK),
        ("tsc: Unable to calibrate against PIT", Complaint.CLOCK),
        ("efi: Failed to lookup EFI memory descriptor for 0x000000001f5eb018", Complaint.EFI),
        ("EFI stub: ERROR: exit_boot() failed!", Complaint.EFI),
    ],
)  # fmt: skip
def test_complaints(message: str, kind: Complaint) -> None:
    assert classify(message) is kind


@pytest.mark.parametrize(
    "message",
    [
        # All from healthy boots on QEMU with OVMF.
        'PCI: Using host bridge windows from ACPI; if necessary, use "pci=nocrs" and report a bug',
        "AMD-Vi: AMD IOMMUv2 functionality not available on this system - This is not a bug.",
        "RAS: Correctable Errors collector initialized.",
        "acpi PNP0A03:00: fail to add MMCONFIG information, can't access extended PCI configuration space under this bridge.",
        "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path",
        "efi: EFI v2.70 by EDK II",
        "Speculative Store Bypass: Vulnerable",
        "ACPI: PM: Preparing to enter system sleep state S5",
        "NMI watchdog: Perf NMI watchdog permanently disabled",
        "debug: unmapping init [mem 0xffffffff82a8b000-0xffffffff82abcfff]",
    ],
)
def test_healthy_lines_are_not_complaints(message: str) -> None:
    assert classify(message) is None


def test_lines_lose_what_the_terminal_and_the_clock_put_there() -> None:
    console = (
        "\x1b[2J\x1b[01;01H\x1b[=3hEFI stub: Loaded initrd\r\n"
        "[    0.000000] Linux version 6.1.0\r\n\r\n"
        "[    0.000000][    T0] with a caller  \r\n"
        "[   12.345678] \x1b[31m indented\n"
        "efishim-init: [warnings]\n"
        "| <4> tsc: Unable to calibrate against PIT\n"
    )
    assert messages(console) == [
        "EFI stub: Loaded initrd",
        "Linux version 6.1.0",
        "with a caller",
        " indented",
        "efishim-init: [warnings]",
        "tsc: Unable to calibrate against PIT",
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "WARNING: CPU: 0 PID: 1 at arch/x86/mm/ioremap.c:105 __ioremap_caller+0x1e3/0x210",
            "WARNING: CPU: 3 PID: 77 at arch/x86/mm/ioremap.c:105 __ioremap_caller+0x1f3/0x220",
        ),
        (
            "BUG: unable to handle page fault for address: ffffffffff5eb018",
            "BUG: unable to handle page fault for address: fffffffefe6a0000",
        ),
        (
            "unchecked MSR access error: RDMSR from 0xc0011029 at rIP: 0xffffffff81069ea4 (init_amd+0x24/0x4b0)",
            "unchecked MSR access error: RDMSR from 0xc0011029 at rIP: 0xffffffff91069ea4 (init_amd+0x25/0x4b0)",
        ),
        (
            "CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-50-cloud-amd64 #1",
            "CPU: 1 PID: 42 Comm: kworker/0:1 Not tainted 6.1.0-50-cloud-amd64 #1",
        ),
        ("watchdog: BUG: soft lockup - CPU#0 stuck for 22s!", "watchdog: BUG: soft lockup - CPU#1 stuck for 48s!"),
    ],
)
def test_two_boots_of_the_same_trouble_are_equal(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RDMSR from 0xc0011029 at rIP: 0xffffffff81069ea4", "RDMSR from 0xc0010015 at rIP: 0xffffffff81069ea4"),
        ("WARNING: CPU: 0 PID: 1 at a.c:105 f+0x1/0x2", "WARNING: CPU: 0 PID: 1 at a.c:106 f+0x1/0x2"),
        ("irq 4: nobody cared", "irq 5: nobody cared"),
        ("BUG: scheduling while atomic", "BUG: sleeping function called from invalid context"),
    ],
)
def test_different_trouble_stays_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


def test_new_findings_are_those_that_the_reference_lacks() -> None:
    reference = WARNING.replace("0x1e3", "0x2e3").replace("1.2", "9.8") + "[    2.000000] [Firmware Bug]: known\n"
    assert new_findings(WARNING, reference) == []
    fresh = new_findings(WARNING + "[    3.000000] [Firmware Bug]: unknown\n", reference)
    assert [(finding.kind, finding.text) for finding in fresh] == [(Complaint.FIRMWARE_BUG, "[Firmware Bug]: unknown")]


def test_the_same_complaint_once_more_is_new() -> None:
    assert [finding.kind for finding in new_findings(WARNING + WARNING, WARNING)] == [
        Complaint.WARNING,
        Complaint.WARNING,
        Complaint.CALL_TRACE,
    ]


def test_of_several_references_the_worst_counts() -> None:
    assert new_findings(WARNING + WARNING, [WARNING, WARNING + WARNING, ""]) == []
    assert len(new_findings(WARNING + WARNING, [WARNING, WARNING])) == 3


def test_only_the_asked_kinds() -> None:
    console = "tsc: Unable to calibrate against PIT\nOops: 0000 [#1] PREEMPT SMP\n"
    assert [finding.kind for finding in new_findings(console, "", kinds=GRAVE)] == [Complaint.OOPS]
    assert len(findings(console)) == 2


def test_a_huge_line_takes_no_time() -> None:
    for filler in ("f", "0x", " ", "Comm: ", "\x1b[", "[    1.2", "| <", "PID"):
        console = filler * (200_000 // len(filler))
        assert messages(console + "\nOops: 0\n")[-1] == "Oops: 0"
        normalise(console)
