"""Extracts the facts about a kernel's behaviour from a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from efishim.compare.facts import Area, Fact, Kind, by_path, did
from efishim.compare.masks import AUDIT, INTERRUPTS, masked
from efishim.compare.shown import IOMEM, is_listed_map, is_printed_map, printed_maps
from efishim.lab.kernel_log import messages, normalise
from efishim.lab.observe.code_parts import LOADER, SHIM
from efishim.lab.record import FirmwareCall, LedgerEntry, LedgerKind, Record

SCAN_STEP = 0x100
"""Hypervisors' leaves begin at multiples of it (arch/x86/include/asm/processor.h, hypervisor_cpuid_base)."""


SEARCHED = frozenset({"ROM"})
"""Areas that are only ever searched, step by step."""


def behaviour(record: Record) -> tuple[dict[Fact, str], Mapping[Fact, tuple[Area, ...]]]:
    """The facts, and the memory maps that the kernel prints and lists."""
    facts = {did(Kind.MILESTONE, point.name.value): "reached" for point in record.milestones}
    facts[did(Kind.OUTCOME)] = f"{record.outcome.reason} ({'met' if record.outcome.met else 'not met'})"
    # No input, but a verdict on inputs: which requirements of the entry the state at it does not meet.
    facts.update((did(Kind.VIOLATION, violation.rule), violation.sentence) for violation in record.abi or ())
    facts.update((call_fact(call), "called") for call in record.firmware_calls)
    facts.update((hardware_fact(touch), "touched") for touch in record.ledger)
    # A shim in the guest is firmware, whose code cannot be compared: the one on the host shows none. A boot loader's
    # is not the image's.
    ran = (function.name for function in record.coverage.functions if function.part not in (SHIM, LOADER))
    facts.update((did(Kind.CODE, name), "ran") for name in ran)
    said = list(sections(record.console))
    for section in said:
        facts.update(_lines(section))
    return {fact: facts[fact] for fact in sorted(facts, key=by_path)}, _maps(said)


def _maps(said: Iterable[Section]) -> Mapping[Fact, tuple[Area, ...]]:
    log: list[str] = []
    iomem: list[str] = []
    for section in said:
        if section.kind is Kind.LOG:
            log = section.whole
        elif section.name == IOMEM.subject:
            iomem = section.whole
    return printed_maps(log, iomem)


def _lines(section: Section) -> Iterator[tuple[Fact, str]]:
    """Lines that differ only in addresses and the like are one fact, whose value has what they do not share. Ranges of
    memory maps are not in it: the maps are compared as such.
    """
    found: dict[str, list[str]] = {}
    for line, whole in zip(section.lines, section.whole, strict=True):
        name = masked(section.name, line)
        in_map = is_printed_map(whole) if section.kind is Kind.LOG else section.name == IOMEM.subject and is_listed_map(whole)
        exact = " ".join(masked(section.name, whole).split())
        found.setdefault(name, []).append(name if in_map else exact)
    for name, told in found.items():
        said = "said" if len(told) == 1 else f"said {len(told)} times"
        yield section.fact(name), said if set(told) == {name} else f"{said}: {'; '.join(told)}"


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


WARNINGS = "warnings"
"""A section of the report that repeats lines of the log."""

_SECTION = re.compile(r"efishim-init: \[(?P<name>.+)\](?: error=-(?P<error>\d+))?$")
_REPORT_BEGINS, _REPORT_ENDS = "efishim-init: begin", "efishim-init: end"

_AMOUNTS: dict[str, tuple[re.Pattern[str], str]] = {
    INTERRUPTS.section: (INTERRUPTS.pattern, INTERRUPTS.replacement),
    "/proc/meminfo": (re.compile(r"\d+(?= kB)"), "N"),
    IOMEM.subject: (re.compile(r"^(\s*)[0-9a-f]+-[0-9a-f]+ : "), r"\1"),
}


class Section(NamedTuple):
    """The kernel's log, or a section of the reporting init's report, by name."""

    kind: Kind
    name: str
    lines: list[str]
    """Without what differs between any two boots."""
    whole: list[str]
    """The same lines as they are."""

    def fact(self, line: str) -> Fact:
        """That one of its lines is said."""
        return did(self.kind, line) if self.kind is Kind.LOG else did(self.kind, self.name, line)


LINE_LIMIT = 4096
"""Characters. Longer lines are no kernel's (kernel/printk/internal.h, PRINTK_MESSAGE_MAX); they are compared in pieces."""


def _pieces(line: str) -> Iterator[str]:
    return (line[at : at + LINE_LIMIT] for at in range(0, len(line) or 1, LINE_LIMIT))


def sections(console: str) -> Iterator[Section]:
    """The kernel's log and the sections of the reporting init's report."""
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
            report[section].extend(_pieces(line[2:]))
        elif not inside:
            log.extend(_pieces(line))
    said = messages("\n".join(log))
    yield Section(Kind.LOG, "", [_log_line(line) for line in said], said)
    for name, lines in report.items():
        yield Section(Kind.USERSPACE, name, [_userspace_line(name, line) for line in lines], lines)


LINES = 1 << 14
"""Lines whose form is remembered: the runs of one kernel print much the same."""

_RANGE = re.compile(r"\[(?:mem )?ADDRESS-ADDRESS\]|\[mem [^\]]*\]")


@lru_cache(maxsize=LINES)
def _log_line(line: str) -> str:
    return AUDIT.hidden(_RANGE.sub("RANGE", normalise(line)))


@lru_cache(maxsize=LINES)
def _userspace_line(section: str, line: str) -> str:
    found = _AMOUNTS.get(section)
    return normalise(found[0].sub(found[1], line) if found is not None else line)
