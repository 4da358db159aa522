"""A hypervisor type and a pointer for it in boot_params: hardware_subarch and hardware_subarch_data."""

from __future__ import annotations

import re

from efishim.compare.behaviour import behaviour
from efishim.compare.facts import Fact, Kind, did
from efishim.lab.record import Record
from efishim.study import readings, sources
from efishim.study.experiment import Experiment, Finding, Statement, commands, decide, untested
from efishim.study.model import Table
from efishim.study.runs import Need, Runs, Subject

VALUES = ("0", "2", "3")
"""Of enum x86_hardware_subarch: a PC, the thread's own, and one for which kernels of today have code."""
NAMES = {"2": "the value 2 (Xen)", "3": "the value 3 (Intel MID)"}
ROUTE = "subarch/linux64"
BASE = Need(ROUTE)
DATA = Need(ROUTE, options=("subarch.data=0x123000",))
TYPE_FIELD, DATA_FIELD = "hdr.hardware_subarch", "hdr.hardware_subarch_data"
NUMBER = re.compile(r"\d+")
COUNTED = frozenset({Kind.CODE, Kind.CALL, Kind.HARDWARE, Kind.LOG, Kind.MILESTONE})
"""Facts that are behaviour; how often a line was said is not."""

TYPE = Statement(
    "hypervisor-type",
    sources.NOT_FOR_HYPERVISORS,
    "Linux acts on a field of boot_params that can name the hypervisor (hardware_subarch).",
    "supported if the kernel reads hardware_subarch by itself, and some value of it changes what the kernel does",
)
POINTER = Statement(
    "custom-data-pointer",
    sources.SUBARCH,
    "Linux follows a pointer of boot_params to data for that (hardware_subarch_data).",
    "supported if the kernel reads hardware_subarch_data by itself, and a value of it changes what the kernel does",
)


def _need(value: str) -> Need:
    return BASE if value == "0" else Need(ROUTE, options=(f"subarch.value={value}",))


def needs(subject: Subject) -> tuple[Need, ...]:
    """Some values, and a pointer."""
    return (*(_need(value) for value in VALUES), DATA) if subject.has("linux64") else ()


def judge(subject: Subject, runs: Runs) -> Finding:
    """Who reads the fields, and what differs from value 0."""
    base = runs[BASE]
    records = {need: runs[need] for need in needs(subject)}
    changed = {need: _changes(base, record) for need, record in records.items()}
    kinds = [value for value in VALUES if changed[_need(value)]]
    rows = [
        [
            f"hardware_subarch {value}" if need != DATA else "hardware_subarch_data 0x123000",
            "yes" if readings.arrived(records[need]) else "no",
            str(len(changed[need])),
            readings.listed(changed[need]),
        ]
        for value, need in [*((value, _need(value)) for value in VALUES[1:]), ("", DATA)]
    ]
    readers = {field: _readers(base, field) for field in (TYPE_FIELD, DATA_FIELD)}
    tables = [
        Table(
            title="Who reads the fields",
            columns=["field", "read by"],
            rows=[[field, readings.listed(names)] for field, names in readers.items()],
            commands=commands({BASE: base}),
            notes=["Copies of boot_params as a whole are not counted as reading a field."],
        ),
        Table(
            title="What changes, set beside hardware_subarch 0",
            columns=["value", "userspace", "facts that differ", "which"],
            rows=rows,
            notes=[
                "- is what the kernel no longer does, + what it does besides; searched is an area of the BIOS that it reads."
            ],
            commands=commands(records),
        ),
    ]
    if base.consumed is None:
        return Finding({one.key: untested("the run did not watch what was read") for one in (TYPE, POINTER)}, tables)
    return Finding(
        {
            TYPE.key: decide(
                bool(readers[TYPE_FIELD]) and bool(kinds),
                f"the field is read by {readings.listed(readers[TYPE_FIELD]) if readers[TYPE_FIELD] else 'nobody'}; "
                + "; ".join(f"with {NAMES[value]} {_facts(len(changed[_need(value)]))}" for value in VALUES[1:]),
            ),
            POINTER.key: decide(
                bool(readers[DATA_FIELD]) and bool(changed[DATA]),
                f"the field is read by {readings.listed(readers[DATA_FIELD]) if readers[DATA_FIELD] else 'nobody'}; with a "
                f"pointer in it {_facts(len(changed[DATA]))}",
            ),
        },
        tables,
    )


def _facts(count: int) -> str:
    if not count:
        return "the kernel does the same as without"
    return f"{count} {'thing is' if count == 1 else 'things are'} different in what the kernel does"


def _readers(record: Record, field: str) -> list[str]:
    consumed = record.consumed
    if consumed is None:
        return []
    uses = [
        use for one in consumed.structures if one.structure.startswith("boot_params") for use in one.fields if use.name == field
    ]
    return list(dict.fromkeys(name for use in uses if use.reads for name in use.functions))


def _changes(base: Record, record: Record) -> list[str]:
    one, other = _done(base), _done(record)
    return [f"-{path}" for path in sorted(one - other)] + [f"+{path}" for path in sorted(other - one)]


def _done(record: Record) -> set[str]:
    """What the kernel did. Amounts in its log (memory left, milliseconds) follow from everything else and are no facts here."""
    counted = [fact for fact in behaviour(record)[0] if fact.kind in COUNTED]
    searched = record.consumed.legacy if record.consumed is not None else []
    read = {f"searched.{use.group} by {name}" for use in searched for name in use.functions}
    return {_plain(fact).path for fact in counted} | read


def _plain(fact: Fact) -> Fact:
    return did(Kind.LOG, NUMBER.sub("N", fact.subject)) if fact.kind is Kind.LOG else fact


EXPERIMENT = Experiment(
    "subarch",
    "A hypervisor type in boot_params",
    "What does the kernel read of hardware_subarch and hardware_subarch_data, and what changes?",
    (TYPE, POINTER),
    needs,
    judge,
    (
        "The fields are those that exist; the thread's proposal was about new ones, for which no kernel has code.",
        "On another configuration of the kernel more values may have code behind them.",
        "Not all that differs follows from the field: when a boot takes another time, threads meet elsewhere, and functions "
        "run that wait for a lock or free what is no longer used.",
    ),
)
