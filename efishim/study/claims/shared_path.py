"""Which code fills in boot_params, and what the variants have in common."""

from __future__ import annotations

from efishim.lab.record import Milestone, Record
from efishim.study import readings, sources
from efishim.study.claims.same_code import EFI, LOADER, PVH, early
from efishim.study.experiment import Experiment, Finding, Statement, commands, compare_command, decide, untested
from efishim.study.meeting import MeetingFacts
from efishim.study.model import Command, Table
from efishim.study.runs import Need, Runs, Subject

LOADERS = (LOADER, early("lilo/linux16"), early("kexec/linux64"))
EVERY = Statement(
    "creates-bootparams",
    sources.paraphrase("Every entry point creates boot_params."),
    "Neither at the EFI entry nor at the PVH entry is there a boot_params: each makes its own.",
    "supported if on the EFI and the PVH entry no boot_params is in memory at the entry and a valid one is there at startup_64",
)
SHARE = Statement(
    "share-paths",
    sources.ALREADY_DOES,
    "The EFI stub fills every field of boot_params that the PVH entry fills.",
    "supported if no field of boot_params is filled at startup_64 on the PVH entry and empty on the EFI entry, from the same "
    "hvm_start_info on the same machine; what only one of them writes besides, and the code that they share, stand beside it",
)

ONLY = Statement(
    "only-zero-page",
    sources.ZERO_PAGE_STUB,
    "Before the meeting point the PVH entry sets nothing of the kernel but boot_params.",
    "supported if no variable of the kernel differs where the EFI entry and the PVH entry meet: on the EFI entry no code "
    "of the kernel proper has run there",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """Both doors of one hypervisor, and boot loaders for comparison."""
    return tuple(need for need in (EFI, PVH, *LOADERS) if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Set the fields and the code side by side."""
    records = runs.records(needs(subject))
    efi, pvh = runs[EFI], runs[PVH]
    made = {need: _makes(record) for need, record in records.items()}
    every = decide(
        made[EFI] and made[PVH],
        f"nothing at the entry and a valid boot_params at startup_64: {_word(made[EFI])} on the EFI entry, {_word(made[PVH])} "
        "on the PVH entry",
    )
    by_efi, by_pvh = readings.told_fields(efi), readings.told_fields(pvh)
    before_efi = set(readings.trace_before(efi, "startup_64"))
    common = before_efi & set(readings.trace_before(pvh, "startup_64"))
    both = by_efi.keys() & by_pvh.keys()
    alone = sorted(by_pvh.keys() - by_efi.keys())
    if not by_efi or not by_pvh:
        share = untested("one of the two ways shows no boot_params at startup_64")
    else:
        share = decide(
            not alone,
            f"{len(both)} of the {len(by_pvh)} fields that the PVH entry fills are filled by the stub too "
            f"({readings.listed(sorted(both))}), by the PVH entry alone {readings.listed(alone)}, by the stub alone "
            f"{len(by_efi.keys() - both)}; today they have {len(common)} "
            f"blocks of code in common before startup_64: the stub runs {readings.part(efi, 'stub')[0]}, the PVH entry "
            f"{len(readings.trace_before(pvh, 'startup_64'))}",
        )
    tables = [_makers(records), _fields(subject, efi, pvh)]
    meeting = runs.meeting
    if meeting.known:
        tables.append(_meeting(meeting))
        only = decide(
            not meeting.variables,
            f"variables of the kernel that the PVH entry sets besides: {readings.listed(meeting.variables)}; of "
            f"{len(meeting.items)} items in which the two ways differ where they meet, {len(meeting.fields)} are fields of "
            "boot_params",
        )
    else:
        only = untested(meeting.reason)
    return Finding({EVERY.key: every, SHARE.key: share, ONLY.key: only}, tables)


def _meeting(meeting: MeetingFacts) -> Table:
    return Table(
        title="Items in which the two ways differ where they meet: what a shared path would have to carry",
        columns=["item"],
        rows=[[name] for name in meeting.items],
        commands=[Command(what="which of them matter, by experiment", command=meeting.command)],
        notes=["Both ways begin with the same hvm_start_info on the same machine, with KASLR off."],
    )


def _makes(record: Record) -> bool:
    return "boot_params" not in readings.structures(record) and bool(readings.told_fields(record))


def _word(made: bool) -> str:
    return "yes" if made else "no"


def _makers(records: dict[Need, Record]) -> Table:
    rows = [
        [
            need.placed_route,
            readings.listed(readings.structures(record)),
            "before the entry" if "boot_params" in readings.structures(record) else "between entry and startup_64",
            str(len(readings.told_fields(record))),
            str(
                sum(readings.part(record, name)[0] for name in ("setup", "stub"))
                + len(readings.trace_before(record, "startup_64"))
            ),
            str(readings.at_milestone(record, Milestone.STARTUP_64) is not None).lower(),
        ]
        for need, record in records.items()
    ]
    return Table(
        title="Who makes boot_params",
        columns=[
            "route",
            "in memory at the entry",
            "boot_params is made",
            "fields that are not zero",
            "blocks that could make it",
            "startup_64",
        ],
        rows=rows,
        commands=commands(records),
        notes=["Blocks that could make it: those of the setup code, the stub and the kernel proper before startup_64."],
    )


def _fields(subject: Subject, efi: Record, pvh: Record) -> Table:
    one, other = readings.told_fields(efi), readings.told_fields(pvh)
    rows = [[name, one.get(name, "-"), other.get(name, "-")] for name in sorted(one.keys() | other.keys())]
    return Table(
        title="What a shared path would have to fill in, for both: fields that are not zero at startup_64",
        columns=["field of boot_params", "EFI stub", "PVH entry"],
        rows=rows,
        commands=[*commands({EFI: efi, PVH: pvh}), compare_command(subject, "hvmlite/efi@hvmlite", "hvmlite/pvh@hvmlite")],
        notes=["Both ways begin with the same hvm_start_info on the same machine."],
    )


EXPERIMENT = Experiment(
    "shared-path",
    "Who creates boot_params",
    "What do the EFI stub and the PVH entry have in common, and what would a path have to do that serves both?",
    (EVERY, SHARE, ONLY),
    needs,
    judge,
    (
        "That two makers fill the same fields does not say that sharing code between them would be easy: the stub runs "
        "before the kernel is unpacked and with firmware's page tables, the PVH entry behind it and with none.",
        "A field that is zero may have been set to zero on purpose; it is not counted.",
    ),
)
