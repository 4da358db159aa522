"""What runs that end before userspace leave open."""

from __future__ import annotations

from efishim.compare.behaviour import hardware_fact
from efishim.compare.evidence import Evidence
from efishim.lab.record import Milestone, Record

EARLY = frozenset({Milestone.STARTUP_64, Milestone.START_KERNEL})
"""Goals that are reached before the kernel has found out what its machine has."""


def before_the_routes_meet(evidence: Evidence) -> bool:
    """Both runs end early, and the one that touched the hardware did so only before startup_64: on a way of its own, where the
    other one may touch it behind the end.
    """
    (left, one), (right, other) = evidence.sides()
    if bool(left) == bool(right) or one.record.options.until != other.record.options.until:
        return False
    if one.record.options.until not in EARLY or not all(seen.record.outcome.met for seen in (one, other)):
        return False
    record = (one if left else other).record
    met = _startup(record)
    touched = [entry.last_insns for entry in record.ledger if hardware_fact(entry) == evidence.fact]
    return met is not None and bool(touched) and max(touched) <= met


def _startup(record: Record) -> int | None:
    return next((point.insns for point in record.milestones if point.name is Milestone.STARTUP_64), None)
