"""What runs that end before userspace leave open."""

from __future__ import annotations

from efishim.compare.behaviour import hardware_fact
from efishim.compare.evidence import Evidence, Seen
from efishim.lab.record import LedgerEntry, LedgerKind, Milestone, Record

EARLY = frozenset({Milestone.STARTUP_64, Milestone.START_KERNEL})
"""Goals that are reached before the kernel has found out what its machine has."""
OF_THE_PROCESSOR = frozenset({LedgerKind.CPUID, LedgerKind.MSR})
TEXT_SCREEN = 0xB_8000
"""Of colour text modes (arch/x86/boot/compressed/misc.c, extract_kernel())."""
CELL = 2


def before_the_routes_meet(evidence: Evidence) -> bool:
    """Both runs end early, and the one that touched the hardware did so only before startup_64: on a way of its own, where the
    other one may touch it behind the end. It is hardware that is there: a register of the processor, or a device that answered.
    """
    touched = _touched_early(evidence)
    return bool(touched) and all(entry.device or entry.kind in OF_THE_PROCESSOR for _, entry in touched)


def on_the_told_screen(evidence: Evidence) -> bool:
    """The same of the text screen, whose size the run was told."""
    touched = _touched_early(evidence)
    return bool(touched) and all(_is_on_screen(seen, entry) for seen, entry in touched)


def _touched_early(evidence: Evidence) -> list[tuple[Seen, LedgerEntry]]:
    """The runs and their entries; none if they are not known to have been before startup_64 in runs that end early."""
    (left, one), (right, other) = evidence.sides()
    if bool(left) == bool(right) or one.record.options.until != other.record.options.until:
        return []
    if one.record.options.until not in EARLY or not all(seen.record.outcome.met for seen in (one, other)):
        return []
    seen = one if left else other
    met = _startup(seen.record)
    touched = [entry for entry in seen.record.ledger if hardware_fact(entry) == evidence.fact]
    if met is None or any(entry.last_insns > met for entry in touched):
        return []
    return [(seen, entry) for entry in touched]


def _startup(record: Record) -> int | None:
    return next((point.insns for point in record.milestones if point.name is Milestone.STARTUP_64), None)


def _is_on_screen(seen: Seen, entry: LedgerEntry) -> bool:
    view = seen.record.boot_view
    first, _, last = entry.what.partition("-")
    if view is None or entry.kind is not LedgerKind.MMIO:
        return False
    cells = view.boot_params.number("screen_info.orig_video_lines") * view.boot_params.number("screen_info.orig_video_cols")
    try:
        return TEXT_SCREEN <= int(first, 16) <= int(last or first, 16) < TEXT_SCREEN + cells * CELL
    except ValueError:  # a record may have anything there
        return False
