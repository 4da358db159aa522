"""Where the routes converge, and what one of them skips."""

from __future__ import annotations

from efishim.lab.record import Milestone, Record
from efishim.study import readings, sources
from efishim.study.experiment import Experiment, Finding, Statement, commands, compare_command, decide, untested
from efishim.study.model import Table
from efishim.study.readings import amount
from efishim.study.runs import Need, Runs, Subject


def early(route: str, platform: str = "pc") -> Need:
    """A run as far as start_kernel."""
    return Need(route, platform, until=Milestone.START_KERNEL)


PVH = early("hvmlite/pvh", "hvmlite")
PVH_ON_PC = early("hvmlite/pvh")
"""On the machine of the boot loaders: what a kernel leaves out under a hypervisor is not the entry's doing."""
EFI = early("hvmlite/efi", "hvmlite")
STUB, LOADER = early("firmware/efi"), early("grub/linux64")
ROUTES = (PVH, PVH_ON_PC, EFI, STUB, LOADER, early("grub/linux32"), early("lilo/linux16"), early("kexec/linux64"))
A_LOT = 10
"""Per cent of the blocks between startup_64 and start_kernel."""

SAME = Statement(
    "same-code",
    sources.ZERO_PAGE_STUB,
    "Every way into the kernel comes to the same startup code.",
    "supported if every route passes the kernel proper's startup_64 at the same symbol, and all of them come from there to "
    "start_kernel",
)
SKIP = Statement(
    "skips-setup",
    sources.paraphrase("The new entry does not skip much of the setup code."),
    "Behind the meeting point the PVH entry leaves out little of the setup that GRUB's way runs.",
    f"supported if the PVH entry runs all but at most {A_LOT} % of the blocks that GRUB's way runs between startup_64 and "
    "start_kernel on the same machine; the decompressor is counted apart",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """All ways in that the image has."""
    return tuple(need for need in ROUTES if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Compare the places, and the traces behind them."""
    records = runs.records(needs(subject))
    pvh = runs[PVH]
    places = {need: readings.milestone_place(record, Milestone.STARTUP_64) for need, record in records.items()}
    behind = {need: set(readings.trace_between(record, "startup_64", "start_kernel")) for need, record in records.items()}
    meet = {place for place in places.values() if place}
    everywhere = all(places.values()) and all(readings.at_milestone(one, Milestone.START_KERNEL) for one in records.values())
    same = decide(
        len(records) > 1 and len(meet) == 1 and everywhere,
        f"{sum(bool(place) for place in places.values())} of {len(records)} routes come to {readings.listed(sorted(meet))}, "
        f"and {sum(readings.at_milestone(one, Milestone.START_KERNEL) is not None for one in records.values())} from there to "
        f"start_kernel; the PVH entry meets the others after {_insns(pvh)} instructions",
    )
    if LOADER not in records or not behind[LOADER] or not behind.get(PVH_ON_PC):
        skip = untested("the image has no symbols, no 64-bit entry, or a route did not come to start_kernel")
    else:
        missing = behind[LOADER] - behind[PVH_ON_PC]
        share = 100 * len(missing) / len(behind[LOADER])
        skip = decide(
            share <= A_LOT,
            f"of the {len(behind[LOADER])} blocks of code that GRUB's way runs between startup_64 and start_kernel, the PVH "
            f"entry leaves out {len(missing)} ({share:.1f} %); before startup_64 it does without the image's decompressor "
            f"({readings.part(records[LOADER], 'decompressor')[0]} blocks) and runs "
            f"{len(readings.trace_before(pvh, 'startup_64'))} blocks of its own",
        )
    return Finding({SAME.key: same, SKIP.key: skip}, [_ways(subject, records), _only(subject, records, behind)])


def _insns(record: Record) -> str:
    found = readings.at_milestone(record, Milestone.STARTUP_64)
    return "no" if found is None else f"{found:,}"


def _ways(subject: Subject, records: dict[Need, Record]) -> Table:
    rows = []
    for need, record in records.items():
        start = readings.at_milestone(record, Milestone.STARTUP_64)
        kernel = readings.at_milestone(record, Milestone.START_KERNEL)
        rows.append(
            [
                need.placed_route,
                readings.milestone_place(record, Milestone.STARTUP_64) or "not reached",
                "-" if start is None else amount(start),
                *(str(readings.part(record, name)[0]) for name in ("setup", "stub", "decompressor")),
                str(len(readings.trace_before(record, "startup_64"))),
                "-" if start is None or kernel is None else amount(kernel - start),
            ]
        )
    columns = ["route", "meets at", "instructions until there", "blocks: setup", "stub", "decompressor", "kernel proper"]
    return Table(
        title="The way to the meeting point, and from there to start_kernel",
        columns=[*columns, "from there to start_kernel"],
        rows=rows,
        commands=[*commands(records), compare_command(subject, *(need.placed_route for need in records))],
    )


def _only(subject: Subject, records: dict[Need, Record], behind: dict[Need, set[str]]) -> Table:
    rows = []
    for need, record in records.items():
        native = PVH if need.platform == PVH.platform else PVH_ON_PC
        if need == native or not behind[need] or not behind.get(native):
            continue
        order = readings.trace_between(record, "startup_64", "start_kernel")
        theirs = readings.functions_of(block for block in order if block not in behind[native])
        ours = readings.trace_between(records[native], "startup_64", "start_kernel")
        mine = readings.functions_of(block for block in ours if block not in behind[need])
        rows.append([need.placed_route, readings.listed(theirs), readings.listed(mine)])
    own = readings.functions_of(readings.trace_before(records[PVH], "startup_64"))
    return Table(
        title="Between startup_64 and start_kernel: functions with blocks that run on one side only, on the same machine",
        columns=["route", "there and not behind the PVH entry", "behind the PVH entry and not there"],
        rows=rows,
        notes=[f"Before startup_64 the PVH entry runs: {readings.listed(own)}."],
        commands=commands(records),
    )


EXPERIMENT = Experiment(
    "same-code",
    "The same startup code",
    "Where do the ways into the kernel meet, and what ran only on one of them before that point?",
    (SAME, SKIP),
    needs,
    judge,
    (
        "What the decompressor does besides unpacking (placing the kernel at random, page tables, the check of the "
        "processor) is left out by the PVH entry as a whole; the rows on KASLR and on CPUID say what of that is missed.",
        "A block is counted once, however often it runs. Work of a boot loader or hypervisor before the entry is outside the "
        "measurement.",
    ),
)
