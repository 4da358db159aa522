"""Answers the question behind the thread, could HVMLite's hvm_start_info have used the EFI entry, with figures per kernel."""

from __future__ import annotations

from efishim.lab.record import Milestone, Record
from efishim.study import readings
from efishim.study.claims import efi_huge, guest_shim, kaslr, same_code
from efishim.study.firmware_sizes import shim_sections
from efishim.study.knowledge import knowledge, memory_kib
from efishim.study.model import EntryOutcome, Knowledge, Reuse
from efishim.study.runs import NoRecordError, Runs, Subject

RANDOM_PLACE = "a random place for its image"


def reuse(kernel: str, subject: Subject, runs: Runs) -> Reuse:
    """What came of it with one kernel."""
    lacking = [f"no {entry.upper()} entry" for entry in ("efi", "pvh") if not subject.has(entry)]
    if lacking:
        return Reuse(kernel=kernel, reason=f"the image has {' and '.join(lacking)}")
    try:
        guest, host, pvh = runs[guest_shim.GUEST], runs[efi_huge.EFI], runs[efi_huge.PVH]
    except NoRecordError as error:
        return Reuse(kernel=kernel, reason=str(error))
    needed = {item for item in runs.surface.needed if readings.is_service(item)}
    refusing = needed & set(runs.surface.refusing)
    memory = [memory_kib(record) for record in (guest, pvh)]
    return Reuse(
        kernel=kernel,
        efi=_entry_outcome(guest),
        pvh=_entry_outcome(pvh),
        alike=guest.machine == host.machine == pvh.machine and _given(host) == _given(pvh),
        kept_kib=guest_shim.kept_by_firmware(guest),
        less_kib=None if None in memory else (memory[1] or 0) - (memory[0] or 0),
        firmware_bytes=sum(shim_sections().values()),
        looked_on=runs.surface.route,
        must_work=len(needed - refusing) if runs.surface.known else None,
        may_refuse=len(refusing) if runs.surface.known else None,
        knows=[*knowledge(guest, pvh), *_placed(runs)],
    )


def _given(record: Record) -> list[object]:
    return [] if record.entry_view is None else list(record.entry_view.structures)


def _entry_outcome(record: Record) -> EntryOutcome:
    end = readings.at_milestone(record, Milestone.STARTUP_64)
    unpacking = readings.part(record, "decompressor")[1]
    return EntryOutcome(
        userspace=readings.arrived(record),
        reached="nothing" if record.outcome.reached is None else record.outcome.reached.value,
        insns=None if end is None else max(0, end - unpacking),
        unpacking=unpacking,
        firmware=readings.part(record, "shim")[1],
        calls=readings.called(record),
    )


def _placed(runs: Runs) -> list[Knowledge]:
    """Does the place of the kernel vary with the seed? Nothing where a run is missing."""
    varies = []
    for way in (same_code.EFI, same_code.PVH):
        records = runs.records(kaslr.seeded(way))
        if len(records) < len(kaslr.SEEDS):
            return []
        varies.append(kaslr.vary(records))
    return [Knowledge(what=RANDOM_PLACE, efi=varies[0], pvh=varies[1])]
