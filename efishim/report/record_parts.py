"""A record in parts that people look at: tables under headings, from which text and HTML are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from efishim.compare.facts import Stage, by_path
from efishim.compare.inputs import inputs
from efishim.lab.record import Argument, CodeRef, FirmwareCall, LedgerEntry, Record
from efishim.report.figures import amount, size
from efishim.report.last_moments import last_moments
from efishim.report.text import verdict
from efishim.report.violations import violations

STAGES: Mapping[Stage, str] = {
    Stage.MACHINE: "The machine, before anything runs",
    Stage.ENTRY: "At the entry: processor, native structure, modules",
    Stage.STARTUP_64: "At startup_64: what boot_params says and leads to",
    Stage.START_KERNEL: "At start_kernel: the kernel's own copy",
    Stage.KERNEL: "Where the kernel lies",
}
"""In the order of the boot."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under headers. Columns whose index is in `numbers` are numbers."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class PartView:
    """One part of a record: sentences, tables, and text that is shown as it is."""

    name: str
    title: str
    summary: str
    """One line, for an overview."""
    lines: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    text: str = ""


def parts(record: Record, names: Sequence[str] = ()) -> tuple[PartView, ...]:
    """The parts of those names, or all."""
    return tuple(PARTS[name](record) for name in names or PARTS)


def _milestones(record: Record) -> PartView:
    rows = tuple(
        (one.name.value, f"{one.insns:,}", f"{one.virtual_ns / 1e9:.3f} s", _place(one.at)) for one in record.milestones
    )
    spent = tuple((one.name, f"{one.blocks:,}", f"{one.insns:,}", _share(one.insns, record)) for one in record.coverage.parts)
    tables = [Table("", ("milestone", "instructions", "guest clock", "at"), rows, frozenset({1, 2}))]
    if spent:
        headers = ("part of the code", "blocks", "instructions", "share")
        tables.append(Table("Where the instructions went", headers, spent, frozenset({1, 2, 3})))
    lines = [verdict(record.outcome), *(f"note: {note}" for note in record.notes), *violations(record), *last_moments(record)]
    passed = record.milestones[-1].name.value if record.milestones else "none"
    summary = f"{len(record.milestones)} passed, the last is {passed}; {amount(record.outcome.insns)} instructions"
    return PartView("milestones", "Milestones", summary, tuple(lines), tuple(tables))


def _share(insns: int, record: Record) -> str:
    total = sum(one.insns for one in record.coverage.parts)
    return f"{100 * insns / total:.1f} %" if total else ""


def _told(record: Record) -> PartView:
    facts, maps = inputs(record)
    ordered = sorted(facts.items(), key=lambda item: by_path(item[0]))
    tables = []
    for stage, title in STAGES.items():
        rows = tuple((fact.path, value) for fact, value in ordered if fact.stage is stage)
        if rows:
            tables.append(Table(title, ("fact", "value"), rows))
        for whole in sorted((one for one in maps if one.stage is stage), key=by_path):
            ranges = tuple(
                (f"{one.start:#x}", f"{one.end - 1:#x}", size(one.end - one.start), one.label) for one in maps[whole]
            )
            tables.append(Table(whole.path, ("first byte", "last byte", "size", "kind"), ranges, frozenset({0, 1, 2})))
    return PartView("told", "Boot information", f"{len(facts):,} facts, {len(maps)} memory maps", (), tuple(tables))


def _calls(record: Record) -> PartView:
    rows = tuple(_call(one) for one in record.firmware_calls)
    dropped = record.firmware_calls_dropped
    lines = (f"{dropped:,} more calls were counted and not kept.",) if dropped else ()
    services = len({one.service for one in record.firmware_calls})
    total = sum(one.repeats for one in record.firmware_calls) + dropped
    headers = ("at", "service", "arguments", "status", "results", "caller", "times")
    table = (Table("", headers, rows, frozenset({0, 6})),) if rows else ()
    return PartView("calls", "Firmware calls", f"{total:,} of {services} services", lines, table)


def _call(one: FirmwareCall) -> tuple[str, ...]:
    said = one.service, _named(one.args), one.status, _named(one.results), _place(one.caller)
    return (f"{one.insns:,}", *said, f"{one.repeats:,}")


def _named(values: Sequence[Argument]) -> str:
    return ", ".join(f"{one.name}={one.value}" for one in values)


def _hardware(record: Record) -> PartView:
    order = sorted(record.ledger, key=lambda one: (one.group.lower(), one.kind.value, one.first_insns))
    rows = tuple(_touch(one) for one in order)
    headers = ("group", "kind", "what", "device", "reads", "writes", "first at", "first by")
    groups = len({one.group for one in record.ledger})
    lines = (f"{record.ledger_dropped:,} accesses of more kinds were counted and not kept.",) if record.ledger_dropped else ()
    table = (Table("", headers, rows, frozenset({4, 5, 6})),) if rows else ()
    return PartView("hardware", "Hardware accesses", f"{len(rows):,} things in {groups} groups", lines, table)


def _touch(one: LedgerEntry) -> tuple[str, ...]:
    counts = f"{one.reads:,}", f"{one.writes:,}", f"{one.first_insns:,}"
    return one.group, one.kind.value, one.what, one.device or "no device", *counts, _place(one.code)


def _code(record: Record) -> PartView:
    order = sorted(record.coverage.functions, key=lambda one: (-one.insns, one.part, one.name))
    rows = tuple((one.name, one.part, f"{one.blocks:,}", f"{one.insns:,}", _share(one.insns, record)) for one in order)
    headers = ("function", "part", "blocks", "instructions", "share")
    table = (Table("", headers, rows, frozenset({2, 3, 4})),) if rows else ()
    return PartView("code", "Code that ran", f"{len(rows):,} functions, {record.coverage.blocks:,} blocks", (), table)


def _console(record: Record) -> PartView:
    lines = (f"{record.console_dropped:,} more bytes were counted and not kept.",) if record.console_dropped else ()
    count = len(record.console.splitlines())
    return PartView("console", "Console", f"{count:,} lines", lines, (), record.console.replace("\r\n", "\n"))


def _place(code: CodeRef | None) -> str:
    return "" if code is None else code.shown


PARTS: Mapping[str, Callable[[Record], PartView]] = {
    "milestones": _milestones,
    "told": _told,
    "calls": _calls,
    "hardware": _hardware,
    "code": _code,
    "console": _console,
}
"""By name."""


def head(record: Record) -> Iterator[tuple[str, str]]:
    """What was run, as names and values."""
    route = record.route
    yield "image", f"{record.image.path}  {record.image.version}".rstrip()
    yield "route", f"{route.provider}/{route.entry}@{route.platform}"
    yield "command line", record.options.cmdline
    yield "memory", size(record.options.memory)
    yield "reproduce", record.reproduce
