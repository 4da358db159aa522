"""The same structures for kernels that are not Linux."""

from __future__ import annotations

import re
from collections.abc import Iterable

from efishim.compare.facts import unnumbered
from efishim.lab.record import Record
from efishim.study import readings, sources
from efishim.study.experiment import Experiment, Finding, Ruling, Statement, commands, decide, untested
from efishim.study.model import Table
from efishim.study.runs import Need, Runs, Subject

PROBE = "embedded:probe"
"""efishim's own kernel: it comes with the program and proves nothing about others."""
DOORS = (("hvmlite", "pvh", "hvmlite"), ("multiboot", "multiboot", "pc"), ("multiboot2", "multiboot2", "pc"))
ENOUGH = "200000000"
"""Instructions after which a system that does not end on its own is stopped."""
LINE = 90

ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|.)")

CRITERION = (
    "supported if an image that is neither Linux nor efishim's own, entered with {}, reads it (or prints a word of the command "
    "line, which it can only have from there) and prints something"
)
START_INFO = Statement(
    "os-agnostic",
    sources.paraphrase("Is hvm_start_info, or EFI, agnostic of the operating system?"),
    "Something other than Linux starts from the same hvm_start_info.",
    CRITERION.format("hvm_start_info"),
)
MULTIBOOT = Statement(
    "os-agnostic-multiboot",
    sources.paraphrase("Is Multiboot agnostic of the operating system?"),
    "Something other than Linux starts from the same Multiboot information.",
    CRITERION.format("Multiboot or Multiboot2 information"),
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """Every other image through each of the doors that it has."""
    return tuple(
        Need(f"{provider}/{entry}", platform, image=label, max_insns=ENOUGH, cmdline=line or None)
        for label, line in subject.others
        for provider, entry, platform in DOORS
        if entry in subject.other_entries[label]
    )


def judge(subject: Subject, runs: Runs) -> Finding:
    """Did they read it, and did they say something?"""
    records = runs.records(needs(subject))
    rows, agreed = [], set()
    for need, record in records.items():
        read = [*_read(record), *_heard(record)]
        said = _said(record)
        if read and said and need.image != PROBE:
            agreed.add(need)
        rows.append([need.image, need.placed_route, readings.listed(read), said or "nothing", record.outcome.reason.value])
    table = Table(
        title="Other kernels through the same doors",
        columns=["image", "route", "what it read of the structure", "the first that it printed", "ended by"],
        rows=rows,
        commands=commands(records),
        notes=[f"{need.name}: {runs.reason(need)}." for need in needs(subject) if need not in records],
    )
    native = {need for need in records if need.provider == "hvmlite"}
    told = {START_INFO.key: _judge(native, agreed), MULTIBOOT.key: _judge(records.keys() - native, agreed)}
    return Finding(told, [table])


def _judge(records: Iterable[Need], agreed: set[Need]) -> Ruling:
    tried = sorted({need for need in records if need.image != PROBE}, key=lambda need: need.name)
    if not tried:
        return untested(
            "no image that is not Linux and has this door was given (--other IMAGE); that efishim's own probe kernel reads "
            "the structure says nothing about others"
        )
    good = [_named(need) for need in tried if need in agreed]
    bad = [_named(need) for need in tried if need not in agreed]
    because = f"read, and something printed, by {readings.listed(good)}" + (f"; not by {readings.listed(bad)}" if bad else "")
    return decide(bool(good), because)


def _named(need: Need) -> str:
    return f"{need.image.removeprefix('deb:').partition('=')[0]} (through {need.route})"


def _read(record: Record) -> list[str]:
    if record.consumed is None:
        return []
    names = (
        unnumbered(one.structure)
        for one in record.consumed.structures
        if one.reads and unnumbered(one.structure) in readings.structures(record)
    )
    return list(dict.fromkeys(names))


def _heard(record: Record) -> list[str]:
    """A word of the command line that it prints: it can only know it from the structure."""
    words = [word for word in record.options.cmdline.split() if len(word) > 3]
    return ["the command line, which it prints"] if any(word in record.console for word in words) else []


def _said(record: Record) -> str:
    lines = (
        "".join(char for char in line if char.isprintable()).strip() for line in ESCAPE.sub("", record.console).splitlines()
    )
    text = next((line for line in lines if any(char.isalpha() for char in line)), "")
    return text[:LINE]


EXPERIMENT = Experiment(
    "os-agnostic",
    "Other kernels",
    "Do the same start_info and Multiboot information start kernels that are not Linux?",
    (START_INFO, MULTIBOOT),
    needs,
    judge,
    (
        "One image that can is enough for the verdict; it does not say that every kernel can. GRUB is a boot loader, and "
        "counts as one that reads what it is entered with.",
        "hvm_start_info is entered at the address of an ELF note, Multiboot at that of a header: an image without the one or "
        "the other cannot be tried. Where only images with a Multiboot header were given, nothing is said about "
        "hvm_start_info.",
    ),
)
