"""Instructions between milestones and by part of the code.

All bars have one scale. A boot spends a thousand times more in one phase than in the next: what would be too short to be seen
is drawn as a line of the least width, and the text says from which number on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efishim.compare.model import Comparison, RunView
from efishim.lab.record import Milestone, Record
from efishim.report.figures import amount

PHASE_WIDTH = 120
"""Pixels of the longest bar of a phase."""

PARTS_WIDTH = 400
"""Pixels of the longest stack of parts."""

LEAST = 1.5
"""Pixels of a bar that is there at all."""

STOPS = (Milestone.STARTUP_64, Milestone.START_KERNEL, Milestone.INIT, Milestone.USERSPACE, Milestone.SHUTDOWN)

PARTS = ("setup", "decompressor", "stub", "kernel", "user")
"""In the order in which they run; whatever else there is comes after them."""


@dataclass(frozen=True, slots=True)
class Phase:
    """The time of one run up to a milestone. `ended` says why it did not get there; `ticks` lie inside the bar."""

    width: float
    text: str
    insns: int
    ended: str = ""
    tick: float | None = None
    """Where firmware's boot services were left."""


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A run; None for phases that it has not."""

    run: RunView
    phases: tuple[Phase | None, ...]
    at: str
    """Milliseconds of the guest's clock at the end."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All runs, under the names of the phases."""

    phases: tuple[tuple[str, str], ...]
    rows: tuple[TimelineRow, ...]
    ticks: bool
    longest: str
    """Instructions of the longest bar."""
    least: str
    """Instructions of the shortest bar that is to scale."""
    width: int = PHASE_WIDTH


def timeline(comparison: Comparison, records: Sequence[Record]) -> Timeline:
    """Milestones of all runs."""
    stops = [stop for stop in STOPS if any(_passed(run, stop) is not None for run in comparison.runs)]
    if any(not _got_through(run, stops) for run in comparison.runs):
        stops += [stop for stop in STOPS if stop not in stops][:1]
    lengths = [_lengths(run, stops) for run in comparison.runs]
    longest = max((length for row in lengths for length, _ in row), default=0)
    names = tuple((_before(stops, i), stop.value) for i, stop in enumerate(stops))
    rows = []
    for run, row, record in zip(comparison.runs, lengths, records, strict=True):
        phases: list[Phase | None] = [_phase(run, length, longest, i, ended) for i, (length, ended) in enumerate(row)]
        phases += [None] * (len(stops) - len(phases))
        rows.append(TimelineRow(run, tuple(phases), f"{record.outcome.virtual_ns / 1e6:,.1f} ms"))
    ticks = any(phase is not None and phase.tick is not None for row in rows for phase in row.phases)
    return Timeline(names, tuple(rows), ticks, amount(longest), amount(int(longest * LEAST / PHASE_WIDTH)))


def _before(stops: Sequence[Milestone], index: int) -> str:
    return stops[index - 1].value if index else Milestone.ENTRY.value


def _passed(run: RunView, stop: Milestone) -> int | None:
    return next((point.insns for point in run.milestones if point.name == stop.value), None)


def _got_through(run: RunView, stops: Sequence[Milestone]) -> bool:
    return run.met or (bool(stops) and _passed(run, stops[-1]) is not None)


def _lengths(run: RunView, stops: Sequence[Milestone]) -> list[tuple[int, str]]:
    """Instructions of each phase, up to where the run ended."""
    found: list[tuple[int, str]] = []
    last = 0
    for stop in stops:
        at = _passed(run, stop)
        if at is None:
            if run.insns > last and not run.met:
                found.append((run.insns - last, run.verdict))
            break
        found.append((max(0, at - last), ""))
        last = at
    return found


def _phase(run: RunView, length: int, longest: int, index: int, ended: str) -> Phase:
    width = _pixels(length, longest, PHASE_WIDTH)
    left = _passed(run, Milestone.EXIT_BOOT_SERVICES) if index == 0 else None
    tick = round(width * left / length, 1) if left is not None and 0 < left <= length else None
    return Phase(width, amount(length), length, ended, tick)


def _pixels(length: int, longest: int, width: int) -> float:
    if not length or not longest:
        return 0.0
    return round(max(LEAST, width * length / longest), 1)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a run: where it begins in the picture, how wide it is, and its share in words."""

    name: str
    css: str
    x: float
    width: float
    insns: int
    text: str
    share: str


@dataclass(frozen=True, slots=True)
class PartsRow:
    """A run and its parts, in the order of the columns; None where it has no such part."""

    run: RunView
    pieces: tuple[Piece | None, ...]
    width: float


@dataclass(frozen=True, slots=True)
class Parts:
    """All runs under the names of the parts."""

    names: tuple[tuple[str, str], ...]
    """Name and CSS class."""
    rows: tuple[PartsRow, ...]
    width: int = PARTS_WIDTH + 40


def parts(comparison: Comparison, records: Sequence[Record]) -> Parts:
    """Where the instructions of all runs went."""
    there = {part.name for record in records for part in record.coverage.parts}
    names = [name for name in PARTS if name in there] + sorted(there - set(PARTS))
    numbers = [{part.name: part.insns for part in record.coverage.parts} for record in records]
    longest = max((sum(one.values()) for one in numbers), default=0)
    css = {name: f"part-{name}" if name in PARTS else "part-else" for name in names}
    rows = [
        _parts_row(run, [(name, css[name], one.get(name)) for name in names], longest)
        for run, one in zip(comparison.runs, numbers, strict=True)
    ]
    return Parts(tuple(css.items()), tuple(rows))


def _parts_row(run: RunView, numbers: Sequence[tuple[str, str, int | None]], longest: int) -> PartsRow:
    pieces: list[Piece | None] = []
    x, total = 0.0, sum(number or 0 for _, _, number in numbers)
    for name, css, number in numbers:
        if number is None:
            pieces.append(None)
            continue
        width = _pixels(number, longest, PARTS_WIDTH)
        share = f"{100 * number / total:.1f} %" if total else ""
        pieces.append(Piece(name, css, round(x, 1), width, number, amount(number), share))
        x += width
    return PartsRow(run, tuple(pieces), round(x, 1))
