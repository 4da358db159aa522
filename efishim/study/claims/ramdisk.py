"""Ramdisks and the command line: what each structure can carry, and what arrives."""

from __future__ import annotations

from efishim.lab.record import Record
from efishim.study import readings, sources
from efishim.study.experiment import Experiment, Finding, Ruling, Statement, commands, decide
from efishim.study.model import Table
from efishim.study.runs import Need, NoRecordError, Runs, Subject

SECOND = "second"
"""Name of the file that only the second ramdisk has."""

PVH = Need("hvmlite/pvh", "hvmlite", ramdisks=True)
ROUTES = (
    PVH,
    Need("hvmlite/efi", "hvmlite", ramdisks=True),
    Need("grub/linux64", ramdisks=True),
    Need("kexec/linux64", ramdisks=True),
    Need("lilo/linux16", ramdisks=True),
    Need("multiboot2/efi", ramdisks=True),
)

ONE = Statement(
    "ramdisk",
    sources.paraphrase("What becomes of the ramdisk?"),
    "On every route a ramdisk arrives.",
    "supported if the init of the first ramdisk runs on every route",
)
SEVERAL = Statement(
    "multiple-ramdisks",
    sources.paraphrase("What becomes of several ramdisks?"),
    "On every route two ramdisks arrive.",
    "supported if on every route userspace finds the file that only the second of two ramdisks has",
)
LINE = Statement(
    "command-line",
    sources.paraphrase("What becomes of the command line?"),
    "On every route the command line arrives.",
    "supported if on every route /proc/cmdline ends with it as it was given",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """Two ramdisks by every way."""
    return tuple(need for need in ROUTES if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Ask userspace."""
    records = {need: runs[need] for need in needs(subject)}
    if not records:
        raise NoRecordError("the image has none of these entries")
    if not any(readings.arrived(record) for record in records.values()):
        raise NoRecordError("userspace comes up on no route")
    both, one, line = (
        {need: test(record) for need, record in records.items()} for test in (second, readings.init_ran, readings.command_line)
    )
    rows = [
        [
            need.placed_route,
            readings.listed(_carriers(record)),
            _count(record),
            *("yes" if found[need] else "no" for found in (one, both, line)),
        ]
        for need, record in records.items()
    ]
    table = Table(
        title="Two ramdisks and a command line",
        columns=[
            "route",
            "what carries them",
            "ramdisks told to the kernel at startup_64",
            "the first arrives",
            "the second",
            "the command line",
        ],
        rows=rows,
        commands=commands(records),
        notes=["The two ramdisks are written by `efishim study --ramdisks DIR`."]
        + [
            f"{need.route}: {note}."
            for need, record in records.items()
            for note in record.notes
            if "ramdisk" in note or "module" in note
        ],
    )
    return Finding({ONE.key: _told(one), SEVERAL.key: _told(both), LINE.key: _told(line)}, [table])


def _told(found: dict[Need, bool]) -> Ruling:
    good = [need.route for need, yes in found.items() if yes]
    bad = [need.route for need, yes in found.items() if not yes]
    because = f"on {len(good)} of {len(found)} routes" + (f"; not on {readings.listed(bad)}" if bad else "")
    because += f", but on {readings.listed(good)}" if good and bad else ""
    return decide(bool(found) and not bad, because)


def second(record: Record) -> bool:
    """Is the second ramdisk's file there?"""
    return any(line.split()[:1] == [SECOND] for line in readings.told_userspace(record, "/"))


def _carriers(record: Record) -> list[str]:
    served = "LoadFile2.LoadFile" in readings.services(record)
    return [*readings.structures(record), *(["LoadFile2 of the firmware"] if served else [])] or ["not described"]


def _count(record: Record) -> str:
    view = record.boot_view
    ramdisk = None if view is None else view.initrd
    return "none" if ramdisk is None else f"one of {int(ramdisk.size):,} bytes"


EXPERIMENT = Experiment(
    "ramdisk",
    "Ramdisks and the command line",
    "What can each structure carry, and what of it arrives in userspace?",
    (ONE, SEVERAL, LINE),
    needs,
    judge,
    (
        "The questions were asked of the proposal for HVMLite; they are answered for every route, because a reader will "
        "compare them.",
        "A route that loses the second ramdisk may do so in the structure (a loader that passes one range) or in the kernel "
        "(one that looks at the first module only); the column on structures tells them apart. Ramdisks that a loader puts "
        "behind each other arrive as one.",
    ),
)
