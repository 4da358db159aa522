"""How much EFI a kernel needs."""

from __future__ import annotations

from efishim.lab.record import Milestone, Record
from efishim.study import readings, sources
from efishim.study.experiment import Experiment, Finding, Statement, commands, untested
from efishim.study.knowledge import knowledge, memory_kib
from efishim.study.model import Command, Table
from efishim.study.readings import amount
from efishim.study.runs import Need, Runs, Subject

EFI, PVH = Need("hvmlite/efi", "hvmlite"), Need("hvmlite/pvh", "hvmlite")

DEFINED = 44 + 14
"""Boot services and runtime services in their tables (UEFI 2.10 sections 4.4 and 4.5; padding and the header left out)."""
PAGE = 4096

EXTRA = Statement(
    "extra-work",
    sources.EXTRA_WORK,
    "EFI support for a guest is much work.",
    "without a verdict, since the claim names no number: what the kernel needs of EFI, what the firmware in the guest costs, "
    "and the sizes of other firmware stand beside it",
    decidable=False,
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """Both doors of one hypervisor."""
    return tuple(need for need in (EFI, PVH) if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Weigh the surface and the shim."""
    efi, pvh, surface = runs[EFI], runs[PVH], runs.surface
    tables = [cost_table(efi, pvh), _known(efi, pvh)]
    if surface.known:
        needed = [item for item in surface.needed if readings.is_service(item) and item not in surface.refusing]
        refusing = [item for item in surface.refusing if readings.is_service(item)]
        because = (
            f"of {DEFINED} services {len(needed)} have to work ({readings.listed(needed)}) and {len(refusing)} have to be "
            "there but may refuse; of everything else that firmware has (protocols, tables, fields, variables) the kernel "
            f"needs {len(surface.needed) - len(needed) - len(refusing)} items; another {len(surface.used)} it uses and can do "
            f"without, and for {len(surface.probed)} it asks in vain"
        )
        tables.insert(0, surface_table(runs))
    else:
        called = [name for name in readings.services(efi) if readings.is_service(name)]
        because = (
            f"on the way to power-off the kernel calls {len(called)} of {DEFINED} services, and what it does not call it does "
            f"not need; how many of them are needed is not known: {surface.reason}"
        )
    return Finding({EXTRA.key: untested(f"the claim names no number; {because}")}, tables)


def _verified(yes: bool) -> str:
    return "verified" if yes else "not verified"


def surface_table(runs: Runs) -> Table:
    """Everything that was found out about the surface."""
    surface = runs.surface
    marks = (
        ("needed", [item for item in surface.needed if item not in surface.refusing]),
        ("needed, may refuse", surface.refusing),
        ("used", surface.used),
        ("probed", surface.probed),
    )
    rows = [[item, mark, surface.consequences.get(item, "")] for mark, items in marks for item in items]
    return Table(
        title=f"The surface of {surface.route}",
        columns=["item", "mark", "without it"],
        rows=rows,
        notes=[
            "Needed: without it, everything else needed being there, the kernel does not reach its goal. Used: answered, and "
            "the kernel comes through without. Probed: asked for, and there was none. The last column is about an item that "
            "is missing alone; where that stops the boot although the item is only used, it can go together with what leads "
            "to it.",
            *([f"Never touched: {readings.listed(surface.untouched)}."] if surface.untouched else []),
            f"Found with {surface.trials} trials. That what is needed suffices alone was {_verified(surface.sufficient)} by a "
            f"run, that each further removal stops the boot {_verified(surface.minimal)} by a run for each.",
        ],
        commands=[Command(what="the surface", command=surface.command)],
    )


def memory_by_type(record: Record) -> dict[str, int]:
    """Bytes by type in the EFI memory map at startup_64."""
    view = record.boot_view
    efi = None if view is None or view.efi is None else view.efi.memory_map
    found: dict[str, int] = {}
    for one in () if efi is None else efi.descriptors:
        found[one.type_name] = found.get(one.type_name, 0) + one.number_of_pages * PAGE
    return found


KEPT = ("EfiRuntimeServicesCode", "EfiRuntimeServicesData", "EfiReservedMemoryType", "EfiACPIReclaimMemory", "EfiACPIMemoryNVS")
GIVEN_BACK = ("EfiBootServicesCode", "EfiBootServicesData")


def _withheld(record: Record) -> int:
    """KiB that are no RAM on the machine itself, before any firmware was there."""
    if record.machine is None:
        return 0
    return sum(one.size for one in record.machine.memory_map if one.type != "RAM") // 1024


def kept(record: Record) -> int:
    """KiB that the shim keeps: what the EFI memory map withholds, less what the machine withheld already."""
    held = sum(memory_by_type(record).get(kind, 0) for kind in KEPT) // 1024
    return max(0, held - _withheld(record))


def _known(efi: Record, pvh: Record) -> Table:
    """What the kernel has in the end."""
    rows = [[one.what, *("yes" if each else "no" for each in (one.efi, one.pvh))] for one in knowledge(efi, pvh)]
    memory = ["-" if found is None else amount(found) for found in map(memory_kib, (efi, pvh))]
    return Table(
        title="What the kernel knows and has in the end",
        columns=["what", "hvmlite/efi", "hvmlite/pvh"],
        rows=[*rows, ["memory for its use (MemTotal), KiB", *memory]],
        commands=commands({EFI: efi, PVH: pvh}),
        notes=["Read off the report of the init, the kernel's log and, for the seed, EFI's tables at startup_64."],
    )


def cost_table(efi: Record, pvh: Record) -> Table:
    """What the shim costs."""
    memory = memory_by_type(efi)
    end = readings.at_milestone(efi, Milestone.STARTUP_64), readings.at_milestone(pvh, Milestone.STARTUP_64)
    native = 0 if efi.entry_view is None else sum(one.size for one in efi.entry_view.structures)
    values = [
        ("bytes of hvm_start_info and what it points to, all that the hypervisor wrote", str(native), str(native)),
        *((f"{kind} in the EFI memory map, KiB", str(memory.get(kind, 0) // 1024), "-") for kind in (*KEPT, *GIVEN_BACK)),
        ("of these kept for good, less what the machine itself reserves, KiB", str(kept(efi)), "0"),
        ("firmware calls", str(readings.called(efi)), "0"),
        ("different services called", str(len(readings.services(efi))), "0"),
        ("instructions of the stub", readings.amount(readings.part(efi, "stub")[1]), "0"),
        ("instructions to startup_64", *("-" if one is None else readings.amount(one) for one in end)),
        ("reaches userspace", *("yes" if readings.arrived(one) else "no" for one in (efi, pvh))),
        ("machine (CPUID, MSRs, ACPI, memory map) the same", *(["yes" if efi.machine == pvh.machine else "no"] * 2)),
    ]
    return Table(
        title="The cost of the shim for hvmlite",
        columns=["what", "hvmlite/efi", "hvmlite/pvh"],
        rows=[list(row) for row in values],
        commands=commands({EFI: efi, PVH: pvh}),
        notes=[f"Built from the structure: {note}." for note in efi.notes],
    )


EXPERIMENT = Experiment(
    "efi-is-huge",
    "The size of EFI",
    "What is the smallest firmware with which this kernel still reaches userspace?",
    (EXTRA,),
    needs,
    judge,
    (
        "The memory of this section is that of the firmware outside the guest, whose room is a choice of its placement. What "
        "a firmware of guest code keeps is in the section on the firmware in the guest.",
        "Userspace is the goal of every trial: what a running system asks of runtime services later is not part of it.",
    ),
    surface=True,
)
