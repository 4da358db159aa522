"""The ledger by group of hardware: accesses per run, and the first code to touch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efishim.compare.costs import group_of
from efishim.compare.model import Comparison
from efishim.lab.record import CodeRef, LedgerEntry, LegacyUse, Record
from efishim.report.html.keys import spans
from efishim.report.html.limits import Cut, Limits, cut


@dataclass(frozen=True, slots=True)
class Thing:
    """A port, an address, a leaf: reads and writes of each run, None where it was left alone."""

    kind: str
    what: str
    device: str
    uses: tuple[tuple[int, int] | None, ...]
    first: tuple[tuple[str, str], ...]
    """Who touched it first, and on which runs that was so."""
    partial: bool
    """Not all runs touched it."""


@dataclass(frozen=True, slots=True)
class HardwareGroup:
    """Things with a common name; counts of all accesses by run."""

    name: str
    counts: tuple[int, ...]
    first: tuple[tuple[str, str], ...]
    things: Cut[Thing]
    partial: int
    """Things that not all runs touched."""


def hardware(comparison: Comparison, records: Sequence[Record], limits: Limits) -> tuple[HardwareGroup, ...]:
    """Groups in the order of their names."""
    keys = [run.key for run in comparison.runs]
    groups: dict[str, dict[tuple[str, str, str], list[LedgerEntry | None]]] = {}
    for index, record in enumerate(records):
        for entry in record.ledger:
            things = groups.setdefault(group_of(entry), {})
            row = things.setdefault((entry.kind.value, entry.what, entry.device), [None] * len(records))
            row[index] = entry
    names = sorted(groups, key=str.lower)
    return tuple(_group(name, groups[name], keys, limits) for name in names)


def _group(
    name: str, things: dict[tuple[str, str, str], list[LedgerEntry | None]], keys: Sequence[str], limits: Limits
) -> HardwareGroup:
    rows = [_thing(key, entries, keys) for key, entries in sorted(things.items(), key=lambda item: _order(item[0]))]
    counts = tuple(sum(sum(row.uses[i] or (0, 0)) for row in rows) for i in range(len(keys)))
    firsts: list[LedgerEntry | None] = []
    for index in range(len(keys)):
        there = [entry for entries in things.values() for entry in [entries[index]] if entry is not None]
        firsts.append(min(there, key=lambda entry: entry.first_insns, default=None))
    partial = [row for row in rows if row.partial]
    ordered = partial + [row for row in rows if not row.partial]
    first = _first([None if one is None else one.code for one in firsts], keys)
    return HardwareGroup(name, counts, first, cut(ordered, limits.things), len(partial))


def _order(key: tuple[str, str, str]) -> tuple[str, int, str]:
    kind, what, device = key
    try:
        return (kind, int(what.split(".", maxsplit=1)[0].split("-", maxsplit=1)[0], 16), what + device)
    except ValueError:
        return (kind, -1, what + device)


def _thing(key: tuple[str, str, str], entries: Sequence[LedgerEntry | None], keys: Sequence[str]) -> Thing:
    uses = tuple(None if entry is None else (entry.reads, entry.writes) for entry in entries)
    return Thing(*key, uses, _first([None if one is None else one.code for one in entries], keys), None in entries)


def _first(places: Sequence[CodeRef | None], keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Code that was first, with the runs on which it was."""
    found: dict[str, list[int]] = {}
    for index, place in enumerate(places):
        if place is not None:
            found.setdefault(place.function or place.shown, []).append(index)
    return tuple((symbol, spans(keys, indexes)) for symbol, indexes in found.items())


@dataclass(frozen=True, slots=True)
class LegacyArea:
    """Memory that has a meaning on a PC: the BIOS's data, the video memory, option ROMs."""

    name: str
    where: str
    uses: tuple[tuple[int, int] | None, ...]
    first: tuple[tuple[str, str], ...]


def legacy(comparison: Comparison, records: Sequence[Record]) -> tuple[LegacyArea, ...]:
    """By address."""
    keys = [run.key for run in comparison.runs]
    areas: dict[tuple[int, str], list[LegacyUse | None]] = {}
    for index, record in enumerate(records):
        for use in record.consumed.legacy if record.consumed is not None else ():
            areas.setdefault((int(use.start), use.group), [None] * len(records))[index] = use
    return tuple(
        LegacyArea(
            name,
            f"{start:#x}",
            tuple(None if use is None else (use.reads, use.writes) for use in uses),
            _first([None if use is None else use.first for use in uses], keys),
        )
        for (start, name), uses in sorted(areas.items())
    )
