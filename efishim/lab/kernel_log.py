"""Extracts complaints from a Linux kernel's console, so that two runs of one kernel can be compared.

The wordings are those of the kernel's own sources, named at each pattern. What differs between two healthy boots (time
stamps, addresses, process numbers, colours of a firmware's console) is taken out before anything is compared.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Complaint(StrEnum):
    """What kind of trouble a line reports."""

    PANIC = "panic"
    OOPS = "oops"
    BUG = "bug"
    WARNING = "warning"
    CALL_TRACE = "call trace"
    STALL = "stall"
    FIRMWARE_BUG = "firmware bug"
    FIRMWARE_WARNING = "firmware warning"
    ACPI_ERROR = "acpi error"
    ACPI_WARNING = "acpi warning"
    UNCHECKED_MSR = "unchecked msr"
    HARDWARE_ERROR = "hardware error"
    INTERRUPT = "interrupt"
    CLOCK = "clock"
    EFI = "efi"


GRAVE = frozenset(
    {Complaint.PANIC, Complaint.OOPS, Complaint.BUG, Complaint.WARNING, Complaint.CALL_TRACE, Complaint.FIRMWARE_BUG}
)
"""What must not appear unless the same kernel says it on real firmware too."""

_PATTERNS: tuple[tuple[Complaint, str], ...] = (
    # The first that matches counts. kernel/panic.c
    (Complaint.PANIC, r"^Kernel panic - not syncing|\bPANIC: (?:double fault|early exception)"),
    # arch/x86/kernel/dumpstack.c (__die_header), traps.c, mm/fault.c
    (Complaint.OOPS, r"^Oops\b|\bOops: |^(?:general protection fault|invalid opcode|double fault|stack segment)\b.*\[#\d"),
    # kernel/watchdog.c, kernel/rcu/tree_stall.h, kernel/hung_task.c: before BUG, which the watchdog prints too
    (Complaint.STALL, r"soft lockup|hard LOCKUP|\bself-detected stall|detected stalls on|blocked for more than \d+ seconds"),
    # lib/bug.c, mm/fault.c, kernel/sched/core.c
    (Complaint.BUG, r"^BUG\b|^[Kk]ernel BUG at|^\s*BUG: "),
    # drivers/acpi/acpica/acutils.h (ACPI_MSG_BIOS_ERROR says "(bug)" as well), include/linux/printk.h (FW_BUG)
    (Complaint.FIRMWARE_BUG, r"\[Firmware Bug\]|MP-BIOS bug|ACPI BIOS (?:Error|Warning) \(bug\)"),
    (Complaint.FIRMWARE_WARNING, r"\[Firmware (?:Warn|Info)\]"),
    (Complaint.ACPI_ERROR, r"\bACPI(?: BIOS)? (?:Error|Exception)\b"),
    (Complaint.ACPI_WARNING, r"\bACPI(?: BIOS)? Warning\b"),
    # kernel/panic.c (__warn), kernel/locking/lockdep.c
    (Complaint.WARNING, r"^WARNING: |^-+\[ cut here \]-+$"),
    # arch/x86/kernel/dumpstack.c
    (Complaint.CALL_TRACE, r"^Call Trace:"),
    # arch/x86/mm/extable.c
    (Complaint.UNCHECKED_MSR, r"unchecked MSR access error"),
    # include/linux/printk.h (HW_ERR), arch/x86/kernel/nmi.c
    (Complaint.HARDWARE_ERROR, r"\[Hardware Error\]|NMI received for unknown reason|Dazed and confused"),
    # kernel/irq/spurious.c, arch/x86/kernel/irq.c, i8259.c, apic/io_apic.c, apic/apic.c
    (
        Complaint.INTERRUPT,
        r"\bnobody cared\b|No irq handler for|unexpected IRQ trap|[Ss]purious (?:8259A |APIC |LAPIC timer )?interrupt"
        r"|APIC error on CPU|timer doesn't work|trying to set up timer as|\bDisabling IRQ #",
    ),
    # arch/x86/kernel/tsc.c, apic/apic.c, kernel/time/clocksource.c
    (
        Complaint.CLOCK,
        r"Marking clocksource .* unstable|TSC calibration failed|Unable to calibrate against PIT|Marking TSC unstable"
        r"|APIC frequency too slow|APIC timer disabled|APIC calibration not consistent|APIC delta adjusted",
    ),
    # drivers/firmware/efi/, arch/x86/platform/efi/
    (
        Complaint.EFI,
        r"^efi: .*(?:[Ff]ailed|[Ii]nvalid|[Ee]rror|[Ff]roze|out_md is null|spans EFI)|EFI stub: ERROR",
    ),
)
_COMPLAINTS = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)

_ESCAPES = re.compile(r"\x1b(?:\[[0-9;=?]*[A-Za-z]|[()][A-Z0-9])")
_TIMESTAMP = re.compile(r"^\[ *\d+\.\d{6}\](?:\[ *[CT]\d+\])? ?")
_REPORTED = re.compile(r"^\| <\d> ")
"""A kernel message as the reporting init repeats it: its level in angle brackets."""

_MSR = re.compile(r"\b((?:RDMSR from|WRMSR to) 0x[0-9a-f]+)", re.IGNORECASE)
_VARYING: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+"), "+OFFSET"),
    (re.compile(r"\b(PID:?|pid) ?\d+"), r"\1 N"),
    (re.compile(r"\b(UID:) ?\d+"), r"\1 N"),
    (re.compile(r"\bComm: \S+(?: [^:]*?)?(?= (?:Not tainted|Tainted))"), "Comm: NAME"),
    (re.compile(r"\b(?:CPU:? ?|CPU#)\d+"), "CPU N"),
    (re.compile(r"\b(?:0x)?[0-9a-f]{6,16}\b", re.IGNORECASE), "ADDRESS"),
    (re.compile(r"\b\d+\.\d+ ?(?=s|ms|MHz|seconds)"), "N "),
    (re.compile(r"\b\d+(?=s!)"), "N"),
    (re.compile(r"\[#\d+\]"), "[#N]"),
    (re.compile(r"\s+"), " "),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line that complains. `text` is the kernel's, `normal` what two runs are compared by."""

    kind: Complaint
    text: str
    normal: str


def messages(console: str) -> list[str]:
    """The lines of a console without time stamps, control sequences, carriage returns and trailing space; no empty
    ones. Lines that the reporting init repeats from the kernel's log lose their mark.
    """
    lines = []
    for raw in _ESCAPES.sub("", console).splitlines():
        line = raw.replace("\r", "")
        line = _REPORTED.sub("", line)
        line = _TIMESTAMP.sub("", line).rstrip()
        if line:
            lines.append(line)
    return lines


def classify(message: str) -> Complaint | None:
    """What a message (as `messages` gives it) complains about; None when it does not."""
    return next((kind for kind, pattern in _COMPLAINTS if pattern.search(message)), None)


def normalise(message: str) -> str:
    """The message with everything replaced that may differ between two boots: addresses and registers, offsets in
    functions, numbers of processes and processors, times. The number of an MSR stays: it is the point.
    """
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[1])
        return f"\0{len(kept) - 1}\0"

    text = _MSR.sub(keep, message.replace("\0", ""))
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    for index, original in enumerate(kept):
        text = text.replace(f"\0{index}\0", original)
    return text.strip()


def findings(console: str) -> list[Finding]:
    """Every line of a console that complains, in order."""
    found = []
    for message in messages(console):
        kind = classify(message)
        if kind is not None:
            found.append(Finding(kind, message, normalise(message)))
    return found


def new_findings(
    console: str, reference: str | Iterable[str], *, kinds: Collection[Complaint] = frozenset(Complaint)
) -> list[Finding]:
    """Complaints of `console` that `reference` does not have: not at all, or not as often in the worst of them.

    `reference` is the console of the same kernel on the reference machine, or several of them: what a kernel says on
    some boots only (a calibration that failed under load) is not new when any of them has it.
    """
    consoles = [reference] if isinstance(reference, str) else list(reference)
    allowed: Counter[tuple[Complaint, str]] = Counter()
    for other in consoles:
        allowed |= Counter((finding.kind, finding.normal) for finding in findings(other))
    fresh = []
    for finding in findings(console):
        key = (finding.kind, finding.normal)
        if finding.kind not in kinds:
            continue
        if allowed[key]:
            allowed[key] -= 1
        else:
            fresh.append(finding)
    return fresh
