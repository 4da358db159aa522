"""Records of runs that never were, made so that an experiment must say one thing or the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from efishim.lab.matrix import Result
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import (
    CodeRef,
    Consumed,
    Consumption,
    Coverage,
    FieldUse,
    FirmwareCall,
    FunctionCoverage,
    Hex,
    LedgerEntry,
    LedgerKind,
    Milestone,
    MilestonePoint,
    PartCoverage,
    Record,
    RouteName,
)
from efishim.study.runs import Need, Runs, Subject
from efishim.study.surfaces import SurfaceFacts
from tests.records import a_record
from tests.views import boot_view, entry_view, machine_view

START, KERNEL, USER = 1000, 2000, 3000
TRACE = ("startup_64+0x0", "startup_64_setup_env+0x0", "verify_cpu+0x0", "verify_cpu+0x4", "start_kernel+0x0")
NO_SURFACE = SurfaceFacts(reason="nobody looked for it")


def code(symbol: str) -> CodeRef:
    """A place by its name."""
    return CodeRef(address=Hex(0x1000), symbol=symbol)


def call(service: str, insns: int = 500, status: str = "EFI_SUCCESS") -> FirmwareCall:
    """A firmware call without arguments."""
    return FirmwareCall(service=service, args=[], status=status, insns=insns)


def touch(group: str, *, reads: int = 0, writes: int = 0, device: str = "", by: str = "somebody+0x1") -> LedgerEntry:
    """Hardware that was touched."""
    return LedgerEntry(kind=LedgerKind.PORT, what="0x70", group=group, device=device, reads=reads, writes=writes, code=code(by))


def cpuid(leaf: str, insns: int, by: str) -> LedgerEntry:
    """A CPUID leaf that was asked for."""
    return LedgerEntry(kind=LedgerKind.CPUID, what=leaf, group="CPUID", reads=1, first_insns=insns, code=code(by))


def used(structure: str, field: str, *functions: str) -> Consumed:
    """A field that somebody read, or nobody."""
    fields = [FieldUse(name=field, reads=1, first_insns=1, first=code("f+0x0"), functions=list(functions))] if functions else []
    one = Consumption(
        structure=structure, address=Hex(1), size=8, since_insns=0, until_insns=9, reads=len(functions), fields=fields
    )
    return Consumed(structures=[one])


def report(*, root: Sequence[str] = ("init size=1",), command_line: str = "console=ttyS0") -> str:
    """What the reporting init prints."""
    lines = ["efishim-init: begin", "efishim-init: [/proc/cmdline]", f"| {command_line}", "efishim-init: [/]"]
    return "\n".join([*lines, *(f"| {line}" for line in root), "efishim-init: end", ""])


def made(
    need: Need,
    *,
    meets: str = "startup_64+0x0",
    comes: bool = True,
    trace: Sequence[str] = TRACE,
    image: Mapping[str, str] | None = None,
    ran: Sequence[str] = (),
    entry_structures: Sequence[str] = (),
    **changes: Any,
) -> Record:
    """A run of a need that came to userspace, or with `comes` false to startup_64 only."""
    provider, _, entry = need.route.partition("/")
    points = [MilestonePoint(name=Milestone.STARTUP_64, insns=START, seconds=0.0, at=code(meets))]
    if comes:
        points += [
            MilestonePoint(name=name, insns=insns, seconds=0.0)
            for name, insns in ((Milestone.START_KERNEL, KERNEL), (Milestone.USERSPACE, USER))
        ]
    blocks = dict(image or {})
    functions = [
        FunctionCoverage(name=part, part=part, blocks=len(text.split()), offsets=text) for part, text in blocks.items()
    ]
    values: dict[str, Any] = {
        "route": RouteName(provider=provider, entry=entry, platform=need.platform),
        "milestones": points,
        "firmware_calls": [],
        "ledger": [],
        "entry_view": entry_view(structures=entry_structures),
        "boot_view": boot_view(),
        "kernel_view": boot_view(rip=0xFFFFFFFF81000000),
        "machine": machine_view(),
        "coverage": Coverage(
            parts=[PartCoverage(name=part, blocks=len(text.split()), insns=10) for part, text in blocks.items()],
            functions=[*functions, *(FunctionCoverage(name=name, part="kernel", blocks=1) for name in ran)],
            trace=list(trace),
        ),
        "consumed": Consumed(),
        "console": report(),
        "reproduce": f"efishim run vmlinuz -p {provider} -e {entry}",
    }
    return a_record(**(values | changes))


def runs(records: Mapping[Need, Record], surface: SurfaceFacts = NO_SURFACE) -> Runs:
    """As they come out of a matrix."""
    blob = Blob.embedded("vmlinuz", b"")
    plan = Plan(image=blob, provider="p", entry="e", platform="pc")
    return Runs(
        {need: Result(replace(plan, seed=number), record=one) for number, (need, one) in enumerate(records.items())}, surface
    )


def subject(**changes: Any) -> Subject:
    """A kernel with every door."""
    entries = dict.fromkeys(("efi", "efi-mixed", "pvh", "linux64", "linux32", "linux16"), "")
    values: dict[str, Any] = {"label": "vmlinuz", "version": "6.1", "entries": entries}
    return Subject(**(values | changes))
