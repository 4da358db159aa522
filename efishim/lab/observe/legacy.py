"""Reads and writes of legacy PC memory ranges (the IBM PC's of 1981), whether or not they are RAM."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.consumption import AccessNames
from efishim.lab.record import CODE_LIMIT, Hex, LegacyUse
from efishim.machine.access_observer import Access, ObservedRange
from efishim.machine.ledger import Kind, Touch
from efishim.machine.memory import BusError, PhysicalMemory

EBDA_POINTER = 0x40E
"""In the BIOS data area: the segment of the extended one."""
CONVENTIONAL_END = 0xA_0000
PARAGRAPH = 16


@dataclass(frozen=True)
class Area:
    """A piece of legacy memory and how finely it is counted (bytes)."""

    group: str
    start: int
    end: int
    granule: int = 1


def legacy_areas(memory: PhysicalMemory) -> list[Area]:
    """The areas of this machine, by address; the EBDA is where the BIOS data area says, if there is one."""
    areas = [Area("IVT", 0, 0x400), Area("BDA", 0x400, 0x500)]
    try:
        ebda = memory.u16(EBDA_POINTER) << 4
    except BusError:
        ebda = 0
    if 0x500 <= ebda < CONVENTIONAL_END:
        areas.append(Area("EBDA", ebda, CONVENTIONAL_END))
    areas += [
        Area("VGA", 0xA_0000, 0xC_0000, PARAGRAPH),
        Area("option ROM", 0xC_0000, 0xE_0000, PARAGRAPH),
        Area("BIOS", 0xE_0000, 0x10_0000, PARAGRAPH),
    ]
    return areas


def legacy_watches(memory: PhysicalMemory, areas: Iterable[Area]) -> list[ObservedRange]:
    """What the observer has to watch: the pieces of the areas that are memory. The rest are MMIO, which the ledger has."""
    out = []
    for area in areas:
        for region in memory:
            start, end = max(area.start, region.start), min(area.end, region.end)
            if start < end:
                out.append(ObservedRange(start, end - start, area.granule))
    return out


def legacy(areas: Iterable[Area], accesses: Sequence[Access], touches: Sequence[Touch], names: AddressNames) -> list[LegacyUse]:
    """What was done to each area that was touched. `touches` is the machine's ledger: MMIO is what is no memory there."""
    accessors = AccessNames(names)
    everything = [
        *accesses,
        *(
            Access(touch.address, 1, touch.write, touch.code, touch.code, touch.address, touch.count, touch.first, touch.last)
            for touch in touches
            if touch.kind is Kind.MMIO and touch.address < 1 << 20
        ),
    ]
    out = []
    for area in areas:
        mine = sorted((a for a in everything if area.start <= a.address < area.end), key=lambda access: access.first)
        if not mine:
            continue
        functions = dict.fromkeys(accessors.function(access) for access in mine)
        out.append(
            LegacyUse(
                group=area.group,
                start=Hex(area.start),
                size=area.end - area.start,
                reads=sum(access.count for access in mine if not access.write),
                writes=sum(access.count for access in mine if access.write),
                places=len({access.address // area.granule for access in mine}),
                first_insns=mine[0].first,
                last_insns=max(access.last for access in mine),
                first=accessors.ref(mine[0]),
                functions=list(functions)[:CODE_LIMIT],
            )
        )
    return out
