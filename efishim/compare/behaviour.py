"""Extracts the facts about a kernel's behaviour from a record."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from efishim.compare.facts import Fact, Kind, by_path, did
from efishim.lab.kernel_log import messages, normalise
from efishim.lab.observe.code_parts import SHIM
from efishim.lab.record import FirmwareCall, LedgerEntry, LedgerKind, Record

SCAN_STEP = 0x100
"""Hypervisors' leaves begin at multiples of it (arch/x86/include/asm/processor.h, hypervisor_cpuid_base)."""


SEARCHED = frozenset({"ROM"})
"""Areas that are only ever searched, step by step."""


def behaviour(record: Record) -> dict[Fact, str]:
    """The facts."""
    facts = {did(Kind.MILESTONE, point.name.value): "reached" for point in record.milestones}
    facts[did(Kind.OUTCOME)] = f"{record.outcome.reason} ({'met' if record.outcome.met else 'not met'})"
    # No input, but a verdict on inputs: which requirements of the entry the state at it does not meet.
    facts.update((did(Kind.VIOLATION, violation.rule), violation.sentence) for violation in record.abi or ())
    facts.update((call_fact(call), "called") for call in record.firmware_calls)
    facts.update((hardware_fact(touch), "touched") for touch in record.ledger)
    # A shim in the guest is firmware, whose code is nobody's to compare with: the one on the host shows none.
    ran = (function.name for function in record.coverage.functions if function.part != SHIM)
    facts.update((did(Kind.CODE, name), "ran") for name in ran)
    for section in sections(record.console):
        facts.update((section.fact(line), _said(times)) for line, times in Counter(section.lines).items())
    return {fact: facts[fact] for fact in sorted(facts, key=by_path)}


def _said(times: int) -> str:
    return "said" if times == 1 else f"said {times} times"


def call_fact(call: FirmwareCall) -> Fact:
    """A call by what was asked for, not by where the buffers were: service, names among its arguments, status."""
    return did(Kind.CALL, call.service, ", ".join(names_in(call)), call.status or UNFINISHED)


UNFINISHED = "unfinished"
"""The status of a call that did not return."""


def names_in(call: FirmwareCall) -> list[str]:
    """Those of a call's arguments that are no numbers."""
    return [argument.value for argument in call.args if not _is_number(argument.value)]


def _is_number(text: str) -> bool:
    return text.startswith("0x") or text.isdigit() or not text


def hardware_fact(touch: LedgerEntry) -> Fact:
    """A thing of the machine; a search of many addresses is one thing, however far it came."""
    return did(Kind.HARDWARE, touch.group or "processor", f"{touch.kind} {'search' if _is_search(touch) else touch.what}")


def _is_search(touch: LedgerEntry) -> bool:
    if touch.kind is LedgerKind.MMIO and ("-" in touch.what or touch.group in SEARCHED):
        return True
    if touch.kind is LedgerKind.CPUID and "." not in touch.what:
        leaf = int(touch.what, 16)
        return 0x4000_0000 < leaf < 0x4001_0000 and leaf % SCAN_STEP == 0
    return False


_SECTION = re.compile(r"efishim-init: \[(?P<name>.+)\](?: error=-(?P<error>\d+))?$")
_REPORT_BEGINS, _REPORT_ENDS = "efishim-init: begin", "efishim-init: end"

REPEATED = frozenset({"warnings"})
"""Sections of the report that only repeat the kernel's log."""

_AMOUNTS: dict[str, tuple[re.Pattern[str], str]] = {
    # Interrupts so far: how long the boot took, told in ticks.
    "/proc/interrupts": (re.compile(r"(?<=:)\s+\d+(?=\s|$)"), " N"),
    "/proc/meminfo": (re.compile(r"\d+(?= kB)"), "N"),
    "/proc/iomem": (re.compile(r"^(\s*)[0-9a-f]+-[0-9a-f]+ : "), r"\1"),
}


class Section(NamedTuple):
    """The kernel's log, or a section of the reporting init's report, by name."""

    kind: Kind
    name: str
    lines: list[str]

    def fact(self, line: str) -> Fact:
        """That one of its lines is said."""
        return did(self.kind, line) if self.kind is Kind.LOG else did(self.kind, self.name, line)


def sections(console: str) -> Iterator[Section]:
    """The kernel's log and the sections of the reporting init's report, without what differs between any two boots."""
    log: list[str] = []
    report: dict[str, list[str]] = {}
    section: str | None = None
    inside = False
    for line in console.splitlines():
        if line in (_REPORT_BEGINS, _REPORT_ENDS):
            inside, section = line == _REPORT_BEGINS, None
            continue
        match = _SECTION.match(line) if inside else None
        if match is not None:
            section = match["name"]
            report[section] = [f"error {match['error']}"] if match["error"] else []
        elif inside and section is not None and line.startswith("| "):
            report[section].append(line[2:])
        elif not inside:
            log.append(line)
    yield Section(Kind.LOG, "", [_log_line(line) for line in messages("\n".join(log))])
    for name, lines in report.items():
        if name not in REPEATED:
            yield Section(Kind.USERSPACE, name, [_userspace_line(name, line) for line in lines])


_RANGE = re.compile(r"\[(?:mem )?ADDRESS-ADDRESS\]|\[mem [^\]]*\]")


_AUDIT = re.compile(r"\baudit\([^)]*\)")
"""Seconds and serial number (kernel/audit.c, audit_log_start)."""


def _log_line(line: str) -> str:
    return _AUDIT.sub("audit(TIME)", _RANGE.sub("RANGE", normalise(line)))


def _userspace_line(section: str, line: str) -> str:
    found = _AMOUNTS.get(section)
    return normalise(found[0].sub(found[1], line) if found is not None else line)
