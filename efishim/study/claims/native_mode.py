"""Whether the EFI entry needs a processor in its native mode."""

from __future__ import annotations

from efishim.lab.record import Record
from efishim.study import readings, sources
from efishim.study.claims.efi_huge import EFI, PVH
from efishim.study.experiment import Experiment, Finding, Statement, commands, decide, untested
from efishim.study.model import Table
from efishim.study.runs import Need, Runs, Subject

MIXED = Need("firmware/efi-mixed")
NATIVE = Need("firmware/efi")

ASSUMES = Statement(
    "native-mode",
    sources.NATIVE_MODE,
    "Through its EFI entries a 64-bit kernel can be entered in 64-bit mode only.",
    "refuted if the kernel, entered in 32-bit protected mode through the 32-bit EFI entry that the image declares, comes to "
    "userspace; supported if it does not, or declares none",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """The 32-bit entry, and the others for comparison."""
    return tuple(need for need in (NATIVE, MIXED, EFI, PVH) if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Compare the mode at the entry and the outcome."""
    records = {need: runs[need] for need in needs(subject)}
    table = Table(
        title="The processor's mode at the entry",
        columns=["route", "mode", "userspace"],
        rows=[[need.placed_route, _mode(record), _word(readings.arrived(record))] for need, record in records.items()],
        commands=commands(records),
        notes=["The 32-bit entry is that of CONFIG_EFI_MIXED; the section .compat of the PE file declares it."],
    )
    if NATIVE not in records or not readings.arrived(records[NATIVE]):
        told = untested("userspace does not come up through the EFI entry in 64-bit mode either, or there is none")
    elif MIXED not in records:
        told = decide(True, "the image declares no 32-bit EFI entry")
    else:
        up = readings.arrived(records[MIXED])
        told = decide(
            not up, f"entered in {_mode(records[MIXED])} the kernel {'comes' if up else 'does not come'} to userspace"
        )
    return Finding({ASSUMES.key: told}, [table])


def _mode(record: Record) -> str:
    return "-" if record.entry_view is None else record.entry_view.cpu.mode


def _word(yes: bool) -> str:
    return "yes" if yes else "no"


EXPERIMENT = Experiment(
    "native-mode",
    "The processor's mode at the EFI entry",
    "Does the EFI entry need what only 64-bit firmware sets up?",
    (ASSUMES,),
    needs,
    judge,
    (
        "The 32-bit entry is called by 32-bit firmware, whose services it thunks to. It is no entry for a hypervisor that "
        "starts guests without any firmware.",
    ),
)
