"""The fields of boot structures that were read, and those that never were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from efishim.compare.model import Comparison
from efishim.lab.record import Consumption, FieldUse, Record
from efishim.report.html.keys import spans
from efishim.report.html.limits import Cut, Limits, cut


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field: reads and writes of each run, and which functions touched it."""

    name: str
    uses: tuple[tuple[int, int] | None, ...]
    functions: tuple[str, ...]
    partial: bool


@dataclass(frozen=True, slots=True)
class Unread:
    """Fields that were never read, for the runs that `runs` names."""

    runs: str
    names: Cut[str]


@dataclass(frozen=True, slots=True)
class StructureView:
    """A structure, with bytes read of its size for each run; None where a run does not have it."""

    name: str
    read: tuple[tuple[int, int] | None, ...]
    fields: Cut[FieldRow]
    whole: Cut[tuple[str, str, str]]
    """Function, what it did to the whole of which part, on which runs."""
    unread: tuple[Unread, ...]


def structures(comparison: Comparison, records: Sequence[Record], limits: Limits) -> Cut[StructureView]:
    """In the order in which runs have them."""
    keys = [run.key for run in comparison.runs]
    table: dict[str, list[Consumption | None]] = {}
    for index, record in enumerate(records):
        for one in record.consumed.structures if record.consumed is not None else ():
            row = table.setdefault(one.structure, [None] * len(records))
            row[index] = row[index] or one
    shown = cut(list(table.items()), limits.structures)
    views = tuple(_structure(name, found, keys, limits) for name, found in shown.shown)
    return Cut(views, shown.more)


def _structure(name: str, found: Sequence[Consumption | None], keys: Sequence[str], limits: Limits) -> StructureView:
    fields: dict[str, list[FieldUse | None]] = {}
    whole: dict[tuple[str, str], list[int]] = {}
    unread: dict[tuple[str, ...], list[int]] = {}
    for index, one in enumerate(found):
        if one is None:
            continue
        for use in one.fields:
            fields.setdefault(use.name, [None] * len(found))[index] = use
        for each in one.whole:
            what = f"{'wrote' if each.write else 'read'} {each.part or 'all of it'}"
            runs = whole.setdefault((each.function, what), [])
            if index not in runs:
                runs.append(index)
        unread.setdefault(tuple(one.never_read), []).append(index)
    return StructureView(
        name,
        tuple(None if one is None else (one.bytes_read, one.size) for one in found),
        cut([_field(field, uses, found) for field, uses in fields.items()], limits.fields),
        cut([(function, what, spans(keys, runs)) for (function, what), runs in whole.items()], limits.names),
        tuple(Unread(spans(keys, runs), cut(names, limits.names)) for names, runs in unread.items() if names),
    )


def _field(name: str, uses: Sequence[FieldUse | None], found: Sequence[Consumption | None]) -> FieldRow:
    functions = dict.fromkeys(function for use in uses if use is not None for function in use.functions)
    partial = any(use is None and one is not None for use, one in zip(uses, found, strict=True))
    counts = tuple(None if use is None else (use.reads, use.writes) for use in uses)
    return FieldRow(name, counts, tuple(functions)[:4], partial)
