"""How much EFI a kernel needs, and which side has to supply it."""

from __future__ import annotations

from efishim.lab.record import Milestone, Record
from efishim.study import readings
from efishim.study.experiment import Experiment, Finding, Ruling, Statement, commands, decide, untold
from efishim.study.knowledge import knowledge, memory_kib
from efishim.study.model import Command, Table
from efishim.study.readings import amount
from efishim.study.runs import Need, Runs, Subject

EFI, PVH = Need("hvmlite/efi", "hvmlite"), Need("hvmlite/pvh", "hvmlite")

DEFINED = 44 + 14
"""Boot services and runtime services in their tables (UEFI 2.10 sections 4.4 and 4.5; padding and the header left out)."""
HUGE = 50
"""Per cent."""
PAGE = 4096

IS_HUGE = Statement(
    "efi-is-huge",
    "EFI support is _huge_",
    "The kernel needs more than half of EFI's services to boot.",
    f"holds if the kernel needs more than {HUGE} % of the {DEFINED} boot and runtime services that UEFI defines, as the "
    "surface shows",
)
EMULATE = Statement(
    "emulate-in-hypervisor",
    "you have to emulate EFI firmware in the hypervisor",
    "A boot through the EFI entry needs more of the hypervisor than the hvm_start_info that it writes anyhow.",
    "holds if the EFI entry needs firmware and does not reach userspace with a firmware that was made from hvm_start_info "
    "alone, on the very machine on which the PVH entry runs",
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
        told = decide(
            100 * len(needed) > HUGE * DEFINED,
            f"of {DEFINED} services {len(needed)} have to work ({readings.listed(needed)}) and {len(refusing)} have to be "
            "there but may refuse; of everything else that firmware has (protocols, tables, fields, variables) the kernel "
            f"needs {len(surface.needed) - len(needed) - len(refusing)} items; another {len(surface.used)} it uses and can do "
            f"without, and for {len(surface.probed)} it asks in vain",
        )
        tables.insert(0, surface_table(runs))
    else:
        told = _bound(efi, surface.reason)
    alike = efi.machine == pvh.machine
    up = readings.arrived(efi)
    because = (
        f"the EFI entry {'reaches' if up else 'does not reach'} userspace with {readings.called(efi)} firmware calls, all "
        "answered by a small firmware that was built from the hvm_start_info in guest memory and from nothing else; the "
        f"machine is {'the same' if alike else 'not the same'} as behind the PVH entry, down to CPUID, MSRs and ACPI tables; "
        f"that firmware keeps {amount(kept(efi))} KiB of guest memory for good"
    )
    if not readings.arrived(pvh):
        emulate = untold("userspace does not come up on the PVH entry either")
    else:
        emulate = decide(not up, because) if alike else untold(because)
    return Finding({IS_HUGE.key: told, EMULATE.key: emulate}, tables)


def _verified(yes: bool) -> str:
    return "verified" if yes else "not verified"


def _bound(efi: Record, reason: str) -> Ruling:
    """What is never called cannot be needed: that decides where little is called."""
    called = [name for name in readings.services(efi) if readings.is_service(name)]
    if not readings.arrived(efi) or 100 * len(called) > HUGE * DEFINED:
        return untold(f"the surface is not known: {reason}")
    return decide(
        False,
        f"on the way to power-off the kernel calls {len(called)} of {DEFINED} services, and what it does not call it does not "
        f"need; how many of them are needed is not known: {reason}",
    )


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


def _memory(record: Record) -> dict[str, int]:
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
    held = sum(_memory(record).get(kind, 0) for kind in KEPT) // 1024
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
    memory = _memory(efi)
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
    "What is the smallest firmware with which this kernel still reaches userspace, and what does it cost a hypervisor?",
    (IS_HUGE, EMULATE),
    needs,
    judge,
    (
        "The threshold for 'huge' is a choice, printed above; the table lets everybody choose another.",
        "The shim's services run outside the guest in this laboratory. The bytes are those that it places in guest memory, "
        "with the room that it leaves free for itself; a shim of guest code would need its code beside them, and the "
        "kernel's boot does not call what other kernels or boot loaders would call.",
        "Userspace is the goal of every trial: what a running system asks of runtime services later is not part of it.",
    ),
    surface=True,
)
