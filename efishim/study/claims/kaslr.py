"""Random placement of the kernel on each route."""

from __future__ import annotations

from dataclasses import replace

from efishim.lab.record import Milestone, Record
from efishim.study import readings, sources
from efishim.study.claims.same_code import EFI, LOADER, PVH, ROUTES
from efishim.study.experiment import Experiment, Finding, Ruling, Statement, commands, decide, untested
from efishim.study.model import Table
from efishim.study.runs import Need, Runs, Subject

SEEDS = (0, 1)
NO_RDRAND = "platform.rdrand=0"
WITHOUT_RDRAND = (PVH, EFI, LOADER)

RANDOM = Statement(
    "kaslr-hvmlite",
    sources.paraphrase("Nobody has examined whether KASLR works behind the new entry."),
    "Entered at HVMLite's own entry, the kernel is put at a random place (KASLR), as on the other ways.",
    "supported if runs that differ in the seed alone put the kernel at different addresses there",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """Every way with several seeds, with and without RDRAND."""
    return tuple(
        replace(need, seed=seed, options=options)
        for need in ROUTES
        if subject.has(need.entry)
        for options in ((), (NO_RDRAND,))
        if not options or need in WITHOUT_RDRAND
        for seed in SEEDS
    )


def judge(subject: Subject, runs: Runs) -> Finding:
    """Compare the addresses."""
    linked = subject.links.get("start_kernel")
    rows: list[list[str]] = []
    varies: dict[Need, bool] = {}
    records: dict[Need, Record] = {}
    for way in ROUTES:
        if not subject.has(way.entry):
            continue
        mine = {need: runs[need] for need in seeded(way)}
        bare = [replace(way, seed=seed, options=(NO_RDRAND,)) for seed in SEEDS if way in WITHOUT_RDRAND]
        without = {need: runs[need] for need in bare}
        records |= mine | without
        physical, virtual = _places(mine, physical=True), _places(mine, physical=False)
        plain = vary(without)
        varies[way] = vary(mine)
        rows.append(
            [
                way.placed_route,
                readings.listed(f"{one:#x}" for one in sorted(physical)),
                readings.listed(_slide(one, linked) for one in sorted(virtual)),
                "yes" if varies[way] else "no",
                ("yes" if plain else "no") if without else "not tried",
                readings.listed(_sources(next(iter(mine.values())))),
            ]
        )
    table = Table(
        title=f"Where the kernel lies with the seeds {', '.join(map(str, SEEDS))}",
        columns=[
            "route",
            "physical",
            "virtual slide",
            "varies",
            "varies without RDRAND",
            "firmware's random numbers before startup_64",
        ],
        rows=rows,
        commands=commands(records),
        notes=[
            "The seed decides RDRAND, the firmware's random numbers and a jitter of the time stamp counter, and nothing "
            "else. What varies without RDRAND is left to the other two."
        ],
    )
    return Finding({RANDOM.key: _judge(varies)}, [table])


def seeded(way: Need) -> tuple[Need, ...]:
    """The same run with each seed."""
    return tuple(replace(way, seed=seed) for seed in SEEDS)


def vary(records: dict[Need, Record]) -> bool:
    """Does the kernel lie elsewhere in one of them?"""
    return any(len(_places(records, physical=kind)) > 1 for kind in (True, False))


def _judge(varies: dict[Need, bool]) -> Ruling:
    if PVH not in varies:
        return untested("the image has no PVH entry")
    if not any(varies.values()):
        return untested("no route places the kernel at random: it was built or told not to")
    others = readings.route_names((way for way, yes in varies.items() if yes), varies)
    still = readings.route_names((way for way, yes in varies.items() if not yes), varies)
    return decide(
        varies[PVH], f"at a random place on {readings.listed(others)}; always at the same place on {readings.listed(still)}"
    )


def _places(records: dict[Need, Record], *, physical: bool) -> set[int]:
    found = {readings.rip(record.boot_view if physical else record.kernel_view) for record in records.values()}
    return {one for one in found if one is not None}


def _slide(address: int, linked: int | None) -> str:
    return f"{address:#x}" if linked is None else f"{address - linked:#x}"


def _sources(record: Record) -> list[str]:
    end = readings.at_milestone(record, Milestone.STARTUP_64)
    calls = [call for call in record.firmware_calls if "RNG" in call.service.upper() and (end is None or call.insns <= end)]
    return [f"{call.service} ({call.status})" for call in calls]


EXPERIMENT = Experiment(
    "kaslr",
    "KASLR",
    "Does the kernel place itself at random on each route, and from what entropy?",
    (RANDOM,),
    needs,
    judge,
    (
        "Only the place of the kernel image is looked at; the kernel randomises its direct mapping and modules later, on "
        "every route.",
        "The time stamp counter of this machine has less entropy than a real one: it counts instructions, with a jitter.",
        "Two seeds show that the place varies, not how many places there are.",
    ),
)
