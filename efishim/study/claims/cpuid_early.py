"""The first CPUID on each route."""

from __future__ import annotations

from collections.abc import Iterable

from efishim.lab.record import LedgerEntry, Milestone, Record
from efishim.study import readings, sources
from efishim.study.claims.same_code import ROUTES
from efishim.study.experiment import Experiment, Finding, Statement, commands, decide, untested
from efishim.study.model import Table
from efishim.study.runs import Need, Runs, Subject

LEAVES = 6
REAL_MODE = 0x3FF
"""Limit of the interrupt vector table of real mode."""

EARLY = Statement(
    "cpuid-early",
    sources.paraphrase("CPUID cannot be used early, in assembly code."),
    "No way into the kernel uses CPUID in assembly code, or before an interrupt descriptor table is loaded.",
    "refuted if a route that comes to start_kernel runs CPUID before the kernel loads its first interrupt descriptor "
    "table, or in one of its assembly routines before start_kernel; supported if none does",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """All ways in that the image has."""
    return tuple(need for need in ROUTES if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Look at the first CPUID of each, and at the order of the first blocks."""
    records = runs.records(needs(subject))
    askers = {name for record in records.values() for name in _asking(readings.cpuid_entries(record))}
    rows: list[list[str]] = []
    early: list[Need] = []
    assembly: dict[str, list[Need]] = {}
    for need, record in records.items():
        entries = readings.cpuid_entries(record)
        if not entries:
            rows.append([need.placed_route, "none", "-", "-", "-", "-"])
            continue
        state = idt_state(record, entries[0])
        routines = [name for name in readings.functions_of(readings.trace_before(record, "start_kernel")) if name in askers]
        rows.append(
            [
                need.placed_route,
                entries[0].what,
                readings.amount(entries[0].first_insns),
                _by(entries[0]),
                readings.listed(_before(record, entries), LEAVES),
                state,
            ]
        )
        if readings.at_milestone(record, Milestone.START_KERNEL) is not None:
            early += [need] if state.startswith("none") else []
            for name in routines:
                assembly.setdefault(name, []).append(need)
    table = Table(
        title="The first CPUID",
        columns=[
            "route",
            "first leaf",
            "after instructions",
            "by",
            "leaves before startup_64",
            "interrupt descriptor table then",
        ],
        rows=rows,
        commands=commands(records),
        notes=[
            "The table is read from the processor at the entry, at startup_64 and at start_kernel. In between, the order of "
            f"the kernel's first blocks says whether one of {', '.join(readings.EARLY_IDT)} ran before. A table that the "
            "decompressor loads and drops again is not seen."
        ],
    )
    came = [need for need, record in records.items() if readings.at_milestone(record, Milestone.START_KERNEL) is not None]
    if not any(readings.cpuid_entries(records[need]) for need in came):
        return Finding({EARLY.key: untested("no run that comes to start_kernel shows a CPUID")}, [table])
    because = (
        f"with no table loaded CPUID runs on {readings.listed(readings.route_names(early, records))}; in assembly before "
        f"start_kernel: {_routines(assembly, came, records)}; {len(came)} of {len(records)} routes come to "
        "start_kernel all the same"
    )
    return Finding({EARLY.key: decide(not early and not assembly, because)}, [table])


def _by(entry: LedgerEntry) -> str:
    """The place. Code of the image that moved itself has no name."""
    if entry.code is None:
        return "unknown"
    return entry.code.symbol or f"code of the image at {entry.code.address}"


def _before(record: Record, entries: list[LedgerEntry]) -> list[str]:
    end = readings.at_milestone(record, Milestone.STARTUP_64)
    return [one.what for one in entries if end is None or one.first_insns <= end]


def _asking(entries: list[LedgerEntry]) -> set[str]:
    """Routines in assembly that were the first to ask for a leaf. Where the decompressor was first, they ask again."""
    names = {one.code.function for one in entries if one.code is not None}
    return names & readings.ASSEMBLY


def _routines(found: dict[str, list[Need]], came: list[Need], among: Iterable[Need]) -> str:
    if not found:
        return "nowhere"
    return ", ".join(
        f"{name} on {'every route' if needs == came else readings.listed(readings.route_names(needs, among))}"
        for name, needs in found.items()
    )


def idt_state(record: Record, first: LedgerEntry) -> str:
    """Which interrupt descriptor table was loaded when CPUID ran first: `none...`, or whose."""
    start = readings.at_milestone(record, Milestone.STARTUP_64)
    at_entry, at_start = readings.idt_limit(record.entry_view), readings.idt_limit(record.boot_view)
    if start is None or at_entry is None or at_start is None:
        return "unknown: the run has no views"
    if start is not None and first.first_insns <= start and (readings.idt_base(record.entry_view), at_entry) == (0, REAL_MODE):
        return "the BIOS's vectors, at the entry"
    function = first.code.function if first.code is not None else ""
    if first.first_insns <= start:
        if at_entry == 0 and at_start == 0 and readings.trace_before(record, "startup_64"):
            return "none: neither at the entry nor at startup_64"
        if at_entry == 0:
            return "at the entry none; what the decompressor loads is not seen"
        return (
            "firmware's, from the entry to startup_64"
            if readings.idt_base(record.entry_view) == readings.idt_base(record.boot_view)
            else "firmware's"
        )
    if not function:
        return "unknown: the code has no symbol"
    order = readings.functions_of(readings.trace_before(record, "start_kernel"))
    loads = [order.index(one) for one in readings.EARLY_IDT if one in order]
    if not loads or function not in order:
        return "unknown: no function that loads one is in the trace"
    return "the kernel's own" if min(loads) < order.index(function) else "none of the kernel's yet"


EXPERIMENT = Experiment(
    "cpuid-early",
    "CPUID in early code",
    "Can CPUID be used early? When does each route use it first, by which code, and for what?",
    (EARLY,),
    needs,
    judge,
    (
        "It shows that CPUID is used, not that it would be safe on every processor: one that lacks the instruction would "
        "raise an exception, and under SEV-ES CPUID itself raises one (#VC), for which a handler must be there. This machine "
        "does neither.",
        "Where code has no symbols (setup, decompressor, stub) the place is given as an offset in the image.",
    ),
)
