"""Whether GetMemoryMap and ExitBootServices suffice, and what else is needed."""

from __future__ import annotations

from efishim.firmware.calling.functions import SERVICES as OFFERED
from efishim.firmware.calling.functions import Returns
from efishim.lab.record import Milestone, Record
from efishim.study import readings, sources
from efishim.study.claims.efi_huge import EFI
from efishim.study.experiment import Experiment, Finding, Ruling, Statement, commands, decide, untested
from efishim.study.model import Command, Table
from efishim.study.runs import Need, Runs, Subject

TWO = frozenset({"BootServices.GetMemoryMap", "BootServices.ExitBootServices"})
LEAVE = "BootServices.Exit"
"""An image that gives up returns through it; no boot succeeds with it."""

MINIMUM = Statement(
    "minimum",
    sources.MINIMAL_STUBS,
    "No service of the firmware has to work but these two.",
    "supported if these two, and no other service or protocol, have to work for the EFI entry to reach userspace",
)
NOT_NEEDED = Statement(
    "stubs-not-needed",
    sources.STUBS_NOT_NEEDED,
    "The kernel comes to userspace without GetTime, SetTime, SetVirtualAddressMap and ResetSystem.",
    "supported if none of the four is among what the surface finds to be needed for the EFI entry to reach userspace",
)
FOUR = frozenset(f"RuntimeServices.{name}" for name in ("GetTime", "SetTime", "SetVirtualAddressMap", "ResetSystem"))


REFUSED = tuple(
    f"{function.full_name}=EFI_UNSUPPORTED"
    for function in OFFERED.values()
    if readings.is_service(function.full_name)
    and function.full_name not in (*TWO, LEAVE)
    and function.returns is Returns.STATUS
)
ALONE = Need("firmware/efi", until=Milestone.USERSPACE, without=tuple(sorted(REFUSED)), max_insns="4000000000")
"""Nothing but the two works."""


def needs(subject: Subject) -> tuple[Need, ...]:
    """One run for the list of what is called, and one with the two alone."""
    return (EFI, ALONE) if subject.has("efi") else ()


def judge(subject: Subject, runs: Runs) -> Finding:
    """Set the two beside what is needed."""
    record, surface = runs[EFI], runs.surface
    counts: dict[str, list[int]] = {}
    for call in record.firmware_calls:
        one = counts.setdefault(call.service, [0, 0])
        one[0] += max(call.repeats, 1)
        one[1] += call.status != "EFI_SUCCESS"
    marks = {item: mark for mark in ("needed", "used", "probed") for item in getattr(surface, mark)}
    marks |= dict.fromkeys(surface.refusing, "needed, may refuse")
    called = Table(
        title="What the kernel calls on its EFI entry",
        columns=["service", "calls", "not answered with EFI_SUCCESS", "in the surface"],
        rows=[[name, str(one), str(bad), marks.get(name, "-")] for name, (one, bad) in counts.items()],
        commands=[*commands({EFI: record}), *([Command(what="the surface", command=surface.command)] if surface.known else [])],
    )
    alone = runs[ALONE]
    tables = [called, _alone(alone)]
    if not surface.known:
        unknown = untested(f"the surface is not known: {surface.reason}")
        return Finding({MINIMUM.key: _by_trial(alone, surface.reason), NOT_NEEDED.key: unknown}, tables)
    needed = {item for item in surface.needed if readings.is_service(item) and item not in surface.refusing}
    other = [item for item in surface.needed if not readings.is_service(item) and item not in surface.refusing]
    more, unneeded = sorted(needed - TWO), sorted(TWO - needed)
    because = f"{len(needed)} services have to work"
    because += f"; besides these two: {readings.listed(more)}" if more else "; none besides these two"
    because += f"; not needed of the two: {readings.listed(unneeded)}" if unneeded else "; both of the two are among them"
    if other:
        because += f"; and other than services: {readings.listed(other)}"
    wanted = sorted(FOUR & needed)
    four = decide(
        not wanted,
        f"needed of the four: {readings.listed(wanted)}; called on the way to power-off: "
        f"{readings.listed(sorted(FOUR & counts.keys()))}",
    )
    return Finding({MINIMUM.key: decide(needed == TWO and not _protocols(other), because), NOT_NEEDED.key: four}, tables)


def _by_trial(alone: Record, reason: str) -> Ruling:
    if readings.arrived(alone):
        return untested(f"with the two alone userspace comes up; whether each of them is needed is not known: {reason}")
    outcome = alone.outcome
    last = outcome.reached.value if outcome.reached else "nothing"
    return decide(
        False,
        f"with these two alone, all other services refusing, the kernel comes as far as {last} and not to userspace "
        f"({outcome.details or outcome.reason.value})",
    )


def _alone(alone: Record) -> Table:
    outcome = alone.outcome
    lines = [line for line in alone.console.splitlines() if line.strip()]
    return Table(
        title="With the two alone: every other boot and runtime service but Exit answers EFI_UNSUPPORTED",
        columns=["userspace", "last milestone", "ended by", "services called", "last line of the console"],
        rows=[
            [
                "yes" if readings.arrived(alone) else "no",
                outcome.reached.value if outcome.reached else "none",
                outcome.details or outcome.reason.value,
                readings.listed(readings.services(alone)),
                lines[-1][:100] if lines else "nothing",
            ]
        ],
        commands=commands({ALONE: alone}),
    )


def _protocols(items: list[str]) -> list[str]:
    return [item for item in items if "PROTOCOL" in item.upper()]


EXPERIMENT = Experiment(
    "minimum",
    "The minimum of services",
    "The proposal named two services as the minimum. Are they today, for this kernel?",
    (MINIMUM, NOT_NEEDED),
    needs,
    judge,
    (
        "Needed is meant for reaching userspace with a ramdisk and a command line on this machine; another configuration of "
        "the kernel may need more or less.",
        "A service that answers with an error is there: what is needed is an answer other than EFI_UNSUPPORTED or its like.",
    ),
    surface=True,
)
