"""The cost of a route: instructions by milestone, firmware calls by service, accesses by kind of hardware."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from efishim.lab.record import LedgerEntry, LedgerKind, Milestone, Record

AFTER_THE_MEETING = Milestone.STARTUP_64
"""Up to here the ways have their own code; from here on it is the same kernel."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Counts, in the order of a table."""

    milestones: Mapping[str, int]
    """Instructions from the entry to each milestone that was passed."""
    insns: int
    """All instructions."""
    calls: Mapping[str, int]
    """Firmware calls by service."""
    hardware: Mapping[str, int]
    """Accesses by group."""
    blocks: int
    """Translated blocks that ran."""


def group_of(touch: LedgerEntry) -> str:
    """What people call the hardware that was touched."""
    return touch.group or ("MSR" if touch.kind is LedgerKind.MSR else touch.kind.value)


def costs(record: Record) -> Costs:
    """Count."""
    calls: Counter[str] = Counter()
    for call in record.firmware_calls:
        calls[call.service] += max(call.repeats, 1)
    hardware: Counter[str] = Counter()
    for touch in record.ledger:
        hardware[group_of(touch)] += touch.reads + touch.writes
    return Costs(
        {point.name.value: point.insns for point in record.milestones},
        record.outcome.insns,
        dict(sorted(calls.items())),
        dict(sorted(hardware.items())),
        record.coverage.blocks,
    )
