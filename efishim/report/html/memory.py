"""Draws memory maps on one axis of physical addresses for all runs; small ranges stay visible.

The axis is made of the pieces between all edges of all maps; a piece is as wide as the logarithm of its size, and the
axis is broken where no map has an entry.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log2

from efishim.compare.facts import Area, Stage
from efishim.compare.inputs import ENTRY_MEMORY, MACHINE_MEMORY, e820_map, efi_map, inputs
from efishim.compare.model import Comparison
from efishim.lab.record import BootView, Milestone, Record
from efishim.report.figures import size
from efishim.report.html.keys import spans
from efishim.report.html.limits import Cut, Limits, cut

WIDTH = 1120.0
"""Most pixels of the axis."""

GAP = 22.0
"""Pixels of a break."""

PAGE = 0x1000
MAX_EDGES = 400
TICK_DISTANCE = 90.0
LEVEL_HEIGHT = 15
MARK_WIDTH = 13.0

MAPS = (
    (MACHINE_MEMORY, "the machine"),
    (ENTRY_MEMORY, "the native structure at the entry"),
    (efi_map(Stage.STARTUP_64), "EFI memory map at startup_64"),
    (e820_map(Stage.STARTUP_64), "e820 at startup_64"),
    (e820_map(Stage.START_KERNEL), "e820 at start_kernel"),
)

KINDS: Mapping[str, str] = {
    "RAM": "ram",
    "EfiConventionalMemory": "ram",
    "RESERVED": "reserved",
    "EfiReservedMemoryType": "reserved",
    "ACPI": "acpi",
    "EfiACPIReclaimMemory": "acpi",
    "NVS": "nvs",
    "EfiACPIMemoryNVS": "nvs",
    "EfiLoaderCode": "loader",
    "EfiLoaderData": "loader",
    "EfiBootServicesCode": "boot",
    "EfiBootServicesData": "boot",
    "EfiRuntimeServicesCode": "runtime",
    "EfiRuntimeServicesData": "runtime",
    "EfiMemoryMappedIO": "mmio",
    "EfiMemoryMappedIOPortSpace": "mmio",
}
"""Names of types (of e820, and of UEFI 2.10 table 7.6) to classes of style.css; all others look alike."""


@dataclass(frozen=True, slots=True)
class Box:
    """A range in the picture."""

    x: float
    width: float
    css: str
    label: str
    """What fits into it."""
    title: str


@dataclass(frozen=True, slots=True)
class Lane:
    """A map, of all runs that have the same one."""

    runs: str
    names: tuple[str, ...]
    boxes: tuple[Box, ...]
    ranges: Cut[tuple[str, str, str, str]]
    """Start, end, size, kind."""


@dataclass(frozen=True, slots=True)
class MapView:
    """One kind of map and its lanes."""

    title: str
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something lies: a letter, and a bar for what has a size."""

    letter: str
    x: float
    width: float
    y: int
    title: str


@dataclass(frozen=True, slots=True)
class PlaceLane:
    """What lies where in one run."""

    key: str
    name: str
    spots: tuple[Spot, ...]
    height: int


@dataclass(frozen=True, slots=True)
class MemoryView:
    """The whole picture. `places` is the table of addresses, a row for each thing."""

    width: float
    ticks: tuple[tuple[float, str], ...]
    gaps: tuple[float, ...]
    maps: tuple[MapView, ...]
    lanes: tuple[PlaceLane, ...]
    places: tuple[tuple[str, str, tuple[str, ...]], ...]
    legend: tuple[tuple[str, str], ...]


class Axis:
    """Physical addresses to pixels."""

    def __init__(self, areas: Sequence[Area]) -> None:
        edges = sorted({edge for area in areas for edge in (area.start, area.end)})
        if len(edges) > MAX_EDGES:
            edges = [*edges[: MAX_EDGES - 1], edges[-1]]
        self.edges = edges or [0, PAGE]
        covered = _covered(areas, self.edges)
        raw = [
            4 + 4 * log2(1 + (end - start) / PAGE) if inside else GAP
            for (start, end), inside in zip(pairwise(self.edges), covered, strict=True)
        ]
        scale = min(1.0, WIDTH / (sum(raw) or 1.0))
        self.at = [0.0]
        for width in raw:
            self.at.append(self.at[-1] + width * scale)
        self.gaps = tuple(round((self.at[i] + self.at[i + 1]) / 2, 1) for i, inside in enumerate(covered) if not inside)

    @property
    def width(self) -> float:
        """Pixels in all."""
        return round(self.at[-1], 1)

    def x(self, address: int) -> float:
        """Where an address is; addresses outside lie at the ends."""
        index = bisect_right(self.edges, address) - 1
        if index < 0:
            return 0.0
        if index >= len(self.edges) - 1:
            return self.width
        start, end = self.edges[index], self.edges[index + 1]
        return round(self.at[index] + (self.at[index + 1] - self.at[index]) * (address - start) / (end - start), 1)

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Addresses with room for their names; rounder ones come first."""
        kept: list[tuple[float, str]] = []
        for edge in sorted(self.edges, key=lambda edge: (-_roundness(edge), edge)):
            x = self.x(edge)
            if all(abs(x - other) >= TICK_DISTANCE for other, _ in kept):
                kept.append((x, f"{edge:#x}"))
        return tuple(sorted(kept))


def _covered(areas: Sequence[Area], edges: Sequence[int]) -> list[bool]:
    """For each piece: does any map say anything about it?"""
    merged: list[list[int]] = []
    for area in sorted(areas, key=lambda area: (area.start, area.end)):
        if merged and area.start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], area.end)
        else:
            merged.append([area.start, area.end])
    starts = [start for start, _ in merged]
    found = []
    for edge, _ in pairwise(edges):
        index = bisect_right(starts, edge) - 1
        found.append(index >= 0 and merged[index][1] > edge)
    return found


def _roundness(edge: int) -> int:
    return 64 if edge == 0 else (edge & -edge).bit_length()


def memory(comparison: Comparison, records: Sequence[Record], limits: Limits) -> MemoryView | None:
    """The picture, or None when no run has a memory map."""
    maps = [inputs(record)[1] for record in records]
    areas = [area for one in maps for found in one.values() for area in found if area.end > area.start]
    if not areas:
        return None
    axis = Axis(areas)
    keys = [run.key for run in comparison.runs]
    names = [run.name for run in comparison.runs]
    views = []
    before = e820_map(Stage.STARTUP_64)
    for whole, title in MAPS:
        if whole == e820_map(Stage.START_KERNEL) and all(one.get(whole) in (None, one.get(before)) for one in maps):
            continue
        lanes = _lanes(axis, [one.get(whole) for one in maps], keys, names, limits)
        if lanes:
            views.append(MapView(title, lanes))
    things = [list(_things(record)) for record in records]
    places = tuple(_place_lane(axis, run.key, run.name, found) for run, found in zip(comparison.runs, things, strict=True))
    legend = sorted({(css_of(area.kind), _word(area.kind)) for area in areas})
    return MemoryView(axis.width, axis.ticks(), axis.gaps, tuple(views), places, _places(things), _legend(legend))


def css_of(kind: str) -> str:
    """The class of style.css for a type of memory."""
    return KINDS.get(_word(kind), "other")


def _word(kind: str) -> str:
    return kind.split(" ", maxsplit=1)[0]


def _legend(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    found: dict[str, list[str]] = {}
    for css, word in pairs:
        found.setdefault(css, []).append(word)
    return tuple((css, ", ".join(words[:8])) for css, words in found.items())


def _lanes(
    axis: Axis, maps: Sequence[tuple[Area, ...] | None], keys: Sequence[str], names: Sequence[str], limits: Limits
) -> tuple[Lane, ...]:
    same: dict[tuple[Area, ...], list[int]] = {}
    for index, one in enumerate(maps):
        if one:
            same.setdefault(one, []).append(index)
    return tuple(
        Lane(
            spans(keys, runs),
            tuple(names[index] for index in runs),
            tuple(_box(axis, area) for area in areas[: limits.ranges]),
            cut([_range(area) for area in areas], limits.ranges),
        )
        for areas, runs in same.items()
    )


def _range(area: Area) -> tuple[str, str, str, str]:
    return f"{area.start:#x}", f"{area.end:#x}", size(area.end - area.start), area.label


def _box(axis: Axis, area: Area) -> Box:
    x = axis.x(area.start)
    width = round(max(1.0, axis.x(area.end) - x), 1)
    label = _word(area.kind).removeprefix("Efi")
    title = f"{area.start:#x}-{area.end:#x} {area.label}, {size(area.end - area.start)}"
    return Box(x, width, css_of(area.kind), label if width > 7.2 * len(label) + 6 else "", title)


@dataclass(frozen=True, slots=True)
class _Thing:
    letter: str
    name: str
    start: int
    length: int


def _things(record: Record) -> Iterator[_Thing]:
    """What a run has at known places."""
    points = {point.name: point.at for point in record.milestones if point.at is not None}
    view = record.boot_view
    if Milestone.ENTRY in points:
        yield _Thing("E", "entry point", points[Milestone.ENTRY].address, 0)
    if record.entry_view is not None and record.entry_view.structures:
        first = record.entry_view.structures[0]
        yield _Thing("N", "native structure", first.address, first.size)
    if Milestone.STARTUP_64 in points:
        room = 0 if view is None else view.boot_params.number("hdr.init_size")
        yield _Thing("K", "kernel", points[Milestone.STARTUP_64].address, room)
    if view is not None:
        yield from _told(view)


def _told(view: BootView) -> Iterator[_Thing]:
    yield _Thing("P", "boot_params", view.address, PAGE)
    line, initrd, efi, chain = view.command_line, view.initrd, view.efi, view.setup_data
    if initrd is not None:
        yield _Thing("R", "initrd", initrd.address, initrd.size)
    if line is not None:
        yield _Thing("C", "command line", line.address, len(line.text))
    for node in chain.nodes[:1] if chain is not None else ():
        yield _Thing("D", "setup_data", node.address, node.len)
    if efi is not None and efi.system_table is not None:
        yield _Thing("S", "EFI system table", efi.system_table.address, 0)
    if efi is not None and efi.memory_map is not None:
        yield _Thing("M", "EFI memory map", efi.memory_map.address, efi.memory_map.size)
    yield _Thing("G", "GDT at startup_64", view.cpu.gdt.base, 0)
    yield _Thing("T", "page tables at startup_64", view.cpu.page_table.address, 0)


def _place_lane(axis: Axis, key: str, name: str, things: Sequence[_Thing]) -> PlaceLane:
    ends: list[float] = []
    spots = []
    for thing in sorted(things, key=lambda thing: (thing.start, thing.letter)):
        if not thing.start or thing.start > axis.edges[-1]:
            continue
        x = axis.x(thing.start)
        width = max(MARK_WIDTH, axis.x(thing.start + thing.length) - x)
        x = min(x, axis.width - MARK_WIDTH)
        level = next((i for i, end in enumerate(ends) if end <= x), None)
        if level is None:
            level = len(ends)
            ends.append(0.0)
        ends[level] = x + width + 1
        text = f"{thing.name} at {thing.start:#x}" + (f", {size(int(thing.length))}" if thing.length else "")
        spots.append(Spot(thing.letter, round(x, 1), round(width, 1), level * LEVEL_HEIGHT, text))
    used = 1 + max((spot.y // LEVEL_HEIGHT for spot in spots), default=0)
    return PlaceLane(key, name, tuple(spots), used * LEVEL_HEIGHT)


def _places(things: Sequence[Sequence[_Thing]]) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    rows: dict[tuple[str, str], list[str]] = {}
    for index, found in enumerate(things):
        for thing in found:
            row = rows.setdefault((thing.letter, thing.name), [""] * len(things))
            row[index] = f"{thing.start:#x}"
    return tuple((letter, name, tuple(row)) for (letter, name), row in rows.items())
