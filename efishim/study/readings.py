"""The values that experiments read from a record, as pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from efishim.compare.behaviour import sections
from efishim.compare.facts import Kind, unnumbered
from efishim.lab.record import BootView, EntryView, LedgerEntry, LedgerKind, Milestone, Record
from efishim.study.runs import Need

SHOWN = 12
"""Most names that one cell of a table lists."""

EARLY_IDT = (
    "startup_64_setup_env",
    "startup_64_setup_gdt_idt",
    "startup_64_load_idt",
    "early_setup_idt",
    "idt_setup_early_handler",
)
"""Functions that load an interrupt descriptor table, in the order in which Linux calls them (arch/x86/kernel/head64.c,
idt.c; the names changed between 5.10 and 6.9)."""

ASSEMBLY = frozenset({"startup_32", "startup_64", "verify_cpu", "pvh_start_xen", "secondary_startup_64"})
"""Routines in head_64.S, verify_cpu.S and platform/pvh/head.S of arch/x86."""


def at_milestone(record: Record, name: Milestone) -> int | None:
    """Instructions from the entry to a milestone; None when it was not passed."""
    return next((point.insns for point in record.milestones if point.name is name), None)


def milestone_place(record: Record, name: Milestone) -> str:
    """Symbol or address of a milestone; empty when it was not passed."""
    point = next((point for point in record.milestones if point.name is name), None)
    if point is None or point.at is None:
        return ""
    return point.at.shown.removesuffix("+0x0")


def arrived(record: Record) -> bool:
    """Did userspace come up?"""
    return at_milestone(record, Milestone.USERSPACE) is not None


def part(record: Record, name: str) -> tuple[int, int]:
    """(blocks, instructions) of a part of the way."""
    return next(((one.blocks, one.insns) for one in record.coverage.parts if one.name == name), (0, 0))


def image_blocks(record: Record) -> dict[str, frozenset[str]]:
    """Blocks of the image's own code (setup, decompressor, stub) by part, as offsets in the file: the same on every route."""
    found: dict[str, frozenset[str]] = {}
    for function in record.coverage.functions:
        if function.part in ("setup", "decompressor", "stub"):
            found[function.part] = found.get(function.part, frozenset()) | frozenset(function.offsets.split())
    return found


def trace_between(record: Record, first: str, last: str) -> list[str]:
    """First blocks of the kernel proper from that at the start of `first` to that before `last`; empty when one is missing."""
    trace = record.coverage.trace
    begin, end = f"{first}+0x0", f"{last}+0x0"
    if begin not in trace or end not in trace:
        return []
    return trace[trace.index(begin) : trace.index(end)]


def trace_before(record: Record, name: str) -> list[str]:
    """First blocks of the kernel proper before the start of a function; all when it is not there."""
    trace = record.coverage.trace
    place = f"{name}+0x0"
    return trace[: trace.index(place)] if place in trace else list(trace)


def functions_of(blocks: Iterable[str]) -> list[str]:
    """Names of functions, each once, in their order."""
    return list(dict.fromkeys(block.rpartition("+")[0] or block for block in blocks))


def listed(names: Iterable[str], limit: int = SHOWN) -> str:
    """Names for a cell."""
    every = list(names)
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + more if every else "none"


def route_names(chosen: Iterable[Need], among: Iterable[Need]) -> list[str]:
    """Routes by their names, with the platform where `among` has the same route on another one."""
    platforms: dict[str, set[str]] = {}
    for need in among:
        platforms.setdefault(need.route, set()).add(need.platform)
    return [need.placed_route if len(platforms.get(need.route, ())) > 1 else need.route for need in chosen]


def told_fields(record: Record) -> dict[str, str]:
    """Fields of boot_params that are not zero at startup_64, padding apart; `e820_table` counts as one field."""
    view = record.boot_view
    if view is None or view.problem:
        return {}
    found = {
        name: str(value) for name, value in view.boot_params.items() if value not in ("", 0) and not name.startswith("_pad")
    }
    if view.e820:
        found["e820_table"] = f"{len(view.e820)} ranges"
    return dict(sorted(found.items()))


def idt_limit(view: EntryView | BootView | None) -> int | None:
    """Limit of the interrupt descriptor table in a view of the processor."""
    return None if view is None else view.cpu.idt.limit


def idt_base(view: EntryView | BootView | None) -> int | None:
    """Its address."""
    return None if view is None else view.cpu.idt.base


def structures(record: Record) -> list[str]:
    """Names of the native structures that lay in memory at the entry, without their indices."""
    if record.entry_view is None:
        return []
    return list(dict.fromkeys(unnumbered(one.name) for one in record.entry_view.structures))


def cpuid_entries(record: Record) -> list[LedgerEntry]:
    """Leaves in the order in which they were first asked for."""
    return sorted((one for one in record.ledger if one.kind is LedgerKind.CPUID), key=lambda one: one.first_insns)


def called(record: Record) -> int:
    """Firmware calls, repeated ones included."""
    return sum(max(call.repeats, 1) for call in record.firmware_calls)


def is_service(name: str) -> bool:
    """Is it a service of EFI, and no protocol's function, table or field?"""
    return name.startswith(("BootServices.", "RuntimeServices."))


def services(record: Record) -> list[str]:
    """Names of the services that were called, each once, in the order of the first call."""
    return list(dict.fromkeys(call.service for call in record.firmware_calls))


def kernel_log(record: Record) -> list[str]:
    """Lines of the kernel's log, without what differs between any two boots."""
    return [line for section in sections(record.console) if section.kind is Kind.LOG for line in section.lines]


def told_userspace(record: Record, section: str) -> list[str]:
    """A section of the reporting init's report; empty when it is not there or could not be read."""
    found = [one.lines for one in sections(record.console) if one.kind is Kind.USERSPACE and one.name == section]
    lines = found[0] if found else []
    return [] if lines and lines[0].startswith("error ") else lines


def init_ran(record: Record) -> bool:
    """Did the init of the first ramdisk run?"""
    return arrived(record) and bool(told_userspace(record, "/"))


def command_line(record: Record) -> bool:
    """Did the command line arrive as it was given? What loaders put before it is theirs."""
    lines = told_userspace(record, "/proc/cmdline")
    words = record.options.cmdline.split()
    return bool(lines) and bool(words) and lines[0].split()[-len(words) :] == words


@dataclass(frozen=True, slots=True)
class Touched:
    """What was done to hardware of one group that is not there."""

    group: str
    reads: int
    writes: int
    code: tuple[str, ...]


PAT = "0x277"
"""IA32_PAT. The ledger keeps it with the MTRRs, but it is there without them, and CPUID has a bit of its own for it (Intel SDM
volume 3, 12.12)."""


def hardware(entry: LedgerEntry) -> str:
    """What kind of hardware was touched."""
    return "PAT" if entry.kind is LedgerKind.MSR and entry.what == PAT else entry.group


def absent_hardware(record: Record, groups: Iterable[str]) -> Iterator[Touched]:
    """Accesses to absent devices of these groups, group by group."""
    for group in groups:
        entries = [one for one in record.ledger if hardware(one) == group and not one.device]
        if entries:
            names = (one.code.symbol.rpartition("+")[0] for one in entries if one.code is not None and one.code.symbol)
            yield Touched(
                group, sum(one.reads for one in entries), sum(one.writes for one in entries), tuple(dict.fromkeys(names))
            )


GUEST_KIND = re.compile(r"Booting paravirtualized kernel on (.+)")


def guest_kind(record: Record) -> str:
    """What kind of guest the kernel says it is: "Xen PVH", "Xen HVM", "bare hardware"."""
    found = GUEST_KIND.search(record.console)
    return "nothing" if found is None else found[1].strip()


def rip(view: BootView | None) -> int | None:
    """Instruction pointer of a view."""
    return None if view is None else view.cpu.registers.rip


def amount(number: int) -> str:
    """A count for people, exact: 1,234,567."""
    return f"{number:,}"
