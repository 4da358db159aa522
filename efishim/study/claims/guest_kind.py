"""What kind of guest the kernel takes itself for, and how many interrupts it sets up for a PC's controllers."""

from __future__ import annotations

import re
from dataclasses import replace

from efishim.lab.record import Record
from efishim.study import readings, sources
from efishim.study.claims.dead_code import NO_VGA_FLAG
from efishim.study.claims.efi_huge import EFI, PVH
from efishim.study.experiment import Experiment, Finding, Statement, commands, decide, untested
from efishim.study.model import Table
from efishim.study.runs import Need, Runs, Subject

ON_PC = Need("grub/linux64")
CLEAR = tuple(replace(need, options=(NO_VGA_FLAG,)) for need in (EFI, PVH))
LEGACY = re.compile(r"NR_IRQS: \d+, nr_irqs: (\d+), preallocated irqs: (\d+)")
PVH_GUEST, DEDICATED = "Xen PVH", "the PVH entry"

NEEDS_ENTRY = Statement(
    "pvh-by-entry",
    sources.paraphrase("A guest that is entered through the EFI entry is no PVH guest to the kernel."),
    "Only a kernel that is entered through the PVH entry runs as a PVH guest of Xen.",
    "refuted if, entered through the EFI entry on this machine, the kernel says that it runs as Xen PVH; what decides is shown "
    "by the same run with one flag of the FADT clear",
)
IRQS = Statement(
    "nr-legacy-irqs",
    sources.paraphrase("A guest without 8259s needs nr_legacy_irqs set to 0 by its entry."),
    "On a machine without 8259s the kernel sets up no interrupt descriptors for them.",
    "supported if on the machine without 8259s the kernel's log counts no preallocated interrupts on any route, and on a PC "
    "some",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """Both doors of one machine with the flag set and clear, and a PC for scale."""
    return tuple(need for need in (EFI, PVH, *CLEAR, ON_PC) if subject.has(need.entry))


def preallocated(record: Record) -> int | None:
    """Interrupts that early_irq_init preallocates (kernel/irq/irqdesc.c), as the log counts them."""
    found = LEGACY.search(record.console)
    return None if found is None else int(found[2])


def judge(subject: Subject, runs: Runs) -> Finding:
    """Read the log."""
    records = {need: runs[need] for need in needs(subject)}
    kinds = {need: readings.guest_kind(record) for need, record in records.items()}
    counts = {need: preallocated(record) for need, record in records.items()}
    table = Table(
        title="What the kernel says it runs on",
        columns=["run", "paravirtualized kernel on", "preallocated interrupts"],
        rows=[[need.name, kinds[need], "-" if counts[need] is None else str(counts[need])] for need, record in records.items()],
        commands=commands(records),
        notes=[
            "By the PVH entry xen_pvh is set at once (xen_pvh_init in arch/x86/xen/enlighten_pvh.c). By another entry "
            "xen_hvm_guest_late_init (arch/x86/xen/enlighten_hvm.c) sets it if the FADT says that there is no VGA and no "
            "CMOS clock.",
            "The MADT of Xen's guests says PCAT_COMPAT although there is no 8259A (construct_madt in tools/libacpi/build.c), "
            "and the kernel believes it (legacy_pic_pcat_compat in arch/x86/kernel/i8259.c).",
        ],
    )
    if EFI not in records or PVH not in records:
        return Finding(dict.fromkeys((NEEDS_ENTRY.key, IRQS.key), untested("the image lacks one of the two entries")), [table])
    clear = kinds[CLEAR[0]]
    if kinds[EFI] == "nothing":
        told = untested("the kernel does not say what it runs on")
    else:
        told = decide(
            kinds[EFI] != PVH_GUEST,
            f"through the EFI entry it runs on {kinds[EFI]}, with ACPI_FADT_NO_VGA clear on {clear}; the flags of the FADT "
            "decide, not the entry",
        )
    bare, pc = {need: counts[need] for need in (EFI, PVH)}, counts.get(ON_PC)
    if pc is None or any(one is None for one in bare.values()) or not pc:
        irqs = untested("the kernel does not count its interrupts, or counts none on a PC either")
    else:
        shown = ", ".join(f"{need.placed_route} {count}" for need, count in bare.items())
        irqs = decide(not any(bare.values()), f"preallocated: {shown}; on a PC {pc}")
    return Finding({NEEDS_ENTRY.key: told, IRQS.key: irqs}, [table])


EXPERIMENT = Experiment(
    "guest-kind",
    "PVH guest or not",
    "What makes the kernel run as a PVH guest, and what does it set up for hardware that a PC has?",
    (NEEDS_ENTRY, IRQS),
    needs,
    judge,
    (
        "The kernel's log is what is read; a kernel that is quiet, or of another version, may say it in other words.",
        "One processor was measured.",
    ),
)
