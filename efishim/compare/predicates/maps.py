"""Maps and what is said about memory: what a run shows follows from what it was told."""

from __future__ import annotations

import re

from efishim.compare.areas import spans
from efishim.compare.evidence import Evidence, Seen
from efishim.compare.facts import EFI, Area, Fact, Kind, Stage
from efishim.compare.inputs import ENTRY_MEMORY, MACHINE_MEMORY, NARROW_MODE, PHYSICAL_BASE
from efishim.compare.predicates import memory
from efishim.compare.predicates.pointers import number
from efishim.compare.shown import (
    FIRMWARE_MAP,
    IOMEM,
    NODE_MAP,
    NOSAVE_MAP,
    SETUP_DATA_MAP,
    mem_total,
    memory_total,
    printed_kind,
)

FIRMWARE_KEEPS = 4 << 20
"""The most RAM that firmware keeps after the boot, in bytes: its runtime services, ACPI's tables and NVS."""

SLACK_KIB = 64
"""By how much the kernel's own use of memory may differ: page tables of EFI, copies of what it was passed."""


def shown_as_told(evidence: Evidence) -> bool:
    """A piece of a map that the kernel shows is on each side what that side's e820 map makes it."""
    whole, piece = memory.whole_of(evidence.fact), memory.piece_of(evidence.fact)
    return all(memory.follows(whole, seen, piece) for _, seen in evidence.sides())


_LINES: tuple[tuple[str, Fact], ...] = (
    ("BIOS-e820: ", FIRMWARE_MAP),
    ("reserve setup_data: ", SETUP_DATA_MAP),
    ("extended physical RAM map:", SETUP_DATA_MAP),
    ("node 0: ", NODE_MAP),
    ("PM: hibernation: ", NOSAVE_MAP),
)


def lines_as_told(evidence: Evidence) -> bool:
    """How many ranges of a kind there are follows from the map, which is on each side what that side's e820 map makes it."""
    fact = evidence.fact
    if fact.kind is Kind.USERSPACE:
        name = ".".join(fact.field)
        there = all(any(one.kind == name for one in seen.facts.maps.get(IOMEM, ())) for _, seen in evidence.told())
        return there and all(memory.follows(IOMEM, seen) for _, seen in evidence.sides())
    whole = next((whole for begins, whole in _LINES if fact.subject.startswith(begins)), None)
    if whole is None or not all(memory.follows(whole, seen) for _, seen in evidence.sides()):
        return False
    kind = printed_kind(fact.subject.partition("RANGE ")[2])
    return not kind or all(any(one.kind == kind for one in seen.facts.maps[whole]) for _, seen in evidence.told())


_TIMES = re.compile(r"said(?: (?P<times>\d{1,4}) times)?")


def times_as_told(evidence: Evidence) -> bool:
    """A kind of memory is listed once for each of its ranges."""
    name = ".".join(evidence.fact.field)
    for value, seen in evidence.told():
        match = _TIMES.match(value)
        if match is None or int(match["times"] or 1) != sum(one.kind == name for one in seen.facts.maps.get(IOMEM, ())):
            return False
    return True


_PAGES = re.compile(r"(?P<pages>\d{1,18}) pages")


def pages_of_a_hole(evidence: Evidence) -> bool:
    """As many pages as a hole in the map has, or as all of them have."""
    match = _PAGES.search(evidence.fact.subject)
    if match is None:
        return False
    pages = int(match["pages"])
    return all(pages in memory.holes(seen) or pages == sum(memory.holes(seen)) for _, seen in evidence.told())


_TOTAL_PAGES = re.compile(r"Total pages: (?P<pages>\d{1,18})")


def _line(seen: Seen, begins: str) -> str:
    """The first line of the log that begins so, with its numbers."""
    for fact, value in seen.facts.behaviour.items():
        if fact.kind is Kind.LOG and fact.subject.startswith(begins):
            return value.partition(": ")[2] or fact.subject
    return ""


def total_pages(evidence: Evidence) -> bool:
    """Pages of the zones: what is present, less what both keep for the same purposes."""
    overheads = []
    for _, seen in evidence.sides():
        match = _TOTAL_PAGES.search(_line(seen, "Built 1 zonelists"))
        if match is None:
            return False
        overheads.append(memory.ram_pages(seen) - int(match["pages"]))
    return abs(overheads[0] - overheads[1]) <= SLACK_KIB // 4


MAPPED_BY_A_TABLE = (4 * memory.MIB, 2 * memory.MIB)
"""What a page table of 32-bit paging maps, and one of PAE (Intel SDM volume 3, sections 4.3 and 4.4)."""


def _early_tables(evidence: Evidence) -> set[int]:
    """KiB of page tables that the left kernel has more than the right: one of 32 bits maps all memory up to its own end when it
    starts, and keeps the tables (arch/x86/kernel/head_32.S, mk_early_pgtbl_32). None where neither kernel is one.
    """
    places = []
    for _, seen in evidence.sides():
        view = seen.record.boot_view
        if view is None or view.cpu.mode != NARROW_MODE:
            return {0}
        places.append(number(seen.facts.inputs.get(PHYSICAL_BASE, "")) or 0)
    return {(places[0] - places[1]) // size * (memory.PAGE >> 10) for size in MAPPED_BY_A_TABLE}


def memory_line(evidence: Evidence) -> bool:
    """Present memory is the sum of the map; what is reserved, less boot services' memory and early page tables, is the same on
    both sides; and no more is free than is present and not reserved.
    """
    reserved = []
    for _, seen in evidence.sides():
        found = memory_total(_line(seen, "Memory: "))
        if found is None:
            return False
        free, present, held = found
        if present != memory.ram_pages(seen) * (memory.PAGE >> 10) or free + held > present:
            return False
        reserved.append(held)
    # A kernel that does not use runtime services does not keep boot services' memory for them either.
    left, right = (memory.boot_services(seen) - memory.boot_services_kept(seen) for _, seen in evidence.sides())
    held_more = {reserved[0] - reserved[1] - tables for tables in _early_tables(evidence)}
    if min(abs(more - kept) for more in held_more for kept in (0, left, -right, left - right)) > SLACK_KIB:
        return False
    return _sections(evidence.left) == _sections(evidence.right)


_SECTIONS = re.compile(r"\d+K (?:kernel code|rwdata|rodata|init|bss)")


def _sections(seen: Seen) -> list[str]:
    return _SECTIONS.findall(_line(seen, "Memory: "))


def mem_total_as_told(evidence: Evidence) -> bool:
    """MemTotal is the sum of the map, less what the kernel keeps for itself, which is the same on both sides; what boot
    services used was given back, or was not.
    """
    kept, late = [], []
    for value, seen in evidence.sides():
        total = mem_total(value)
        if total is None:
            return False
        kept.append(memory.ram_pages(seen) * (memory.PAGE >> 10) - total)
        late.append(memory.boot_services(seen))
    own = {kept[0] - kept[1] - tables for tables in _early_tables(evidence)}
    return any(abs(more - boot_services) <= SLACK_KIB for more in own for boot_services in (0, late[0] - late[1]))


_LAST_PAGE = re.compile(r"last_pfn = (?P<page>0x[0-9a-f]+)")


def last_page(evidence: Evidence) -> bool:
    """The last page is the end of RAM in the map, or that of ACPI's tables behind it."""
    match = _LAST_PAGE.search(evidence.fact.subject)
    if match is None:
        return False
    page = int(match["page"], 16)
    ends = (
        {one.end for one in memory.told_map(seen) if one.kind in (*memory.RAM_KINDS, "ACPI")} for _, seen in evidence.told()
    )
    return all(page * memory.PAGE in known for known in ends)


_BOUNDS = re.compile(r"\[(?:mem|gap) 0x(?P<start>[0-9a-f]+)-0x(?P<end>[0-9a-f]+)\]")
_ZONES = frozenset({memory.PAGE, 16 << 20, 1 << 32})


def edges_of_memory(evidence: Evidence) -> bool:
    """Each bound in a line is one of the map's, of a zone's, or the end of the address space of 32 bits."""
    for value, seen in evidence.told():
        edges = {edge for area in memory.told_map(seen) for edge in (area.start, area.end)}
        edges |= {edge for bounds in memory.ram(seen) for edge in bounds} | _ZONES
        found = [(int(one["start"], 16), int(one["end"], 16) + 1) for one in _BOUNDS.finditer(value)]
        if not found or not all(start in edges and end in edges for start, end in found):
            return False
    return True


# ---- what is told


def entries_counted(evidence: Evidence) -> bool:
    """A count of ranges, or the size of a map, is that of the ranges that are there."""
    return all(_counts(evidence.fact, value, seen) for value, seen in evidence.told())


def _counts(fact: Fact, value: str, seen: Seen) -> bool:
    view = seen.record.boot_view
    told = number(value)
    if fact.field[-1] == "e820_entries":
        if fact.stage is Stage.ENTRY:
            structures = seen.record.entry_view.structures if seen.record.entry_view is not None else []
            return told == sum(one.name.startswith("e820_table[") for one in structures)
        return view is not None and told == min(len(view.e820), 128)
    if fact.field[-1] == "efi_memmap_size" and view is not None and view.efi is not None and view.efi.memory_map is not None:
        efi = view.efi.memory_map
        return told == len(efi.descriptors) * efi.descriptor_size
    return False


def native_map_of_the_machine(evidence: Evidence) -> bool:
    """The map that a loader passes on is that of the machine; below 1 MiB, the BIOS may have taken some of the RAM."""
    return all(_is_of_the_machine(seen.facts.maps.get(ENTRY_MEMORY, ()), seen) for _, seen in evidence.sides())


def _is_of_the_machine(areas: tuple[Area, ...], seen: Seen) -> bool:
    machine = seen.facts.maps.get(MACHINE_MEMORY, ())
    if not areas or not machine:
        return not areas
    return all(
        a == b or (start < memory.MIB and b in ("RESERVED", "") and a in ("RAM", "RESERVED", ""))
        for start, _, a, b in spans(machine, areas)
    )


def firmware_keeps_the_same(evidence: Evidence) -> bool:
    """Above 1 MiB, both firmwares keep as much of each type, and leave as much to the operating system; below it, a piece of
    the map is free on both sides.
    """
    left, right, piece = evidence.left, evidence.right, memory.piece_of(evidence.fact)
    if piece is not None and piece[0] < memory.MIB and evidence.fact.subject == EFI:
        return all(value in memory.FREE for value, _ in evidence.sides())
    return bool(memory.kept(left)) and memory.kept(left) == memory.kept(right) and memory.free(left) == memory.free(right)


def firmware_takes_the_same(evidence: Evidence) -> bool:
    """Of the RAM of two machines, one firmware keeps as much of each type; a run without EFI keeps none."""
    left, right = memory.taken(evidence.left), memory.taken(evidence.right)
    return left == right or not left or not right


FIRMWARES_DIFFER = 8 << 20
"""By how much two firmwares may differ in what they keep: variables, flash that is mapped, bins."""


def firmware_keeps_alike(evidence: Evidence) -> bool:
    """Two firmwares, each with a bound on what it keeps: what they leave to the operating system is nearly the same."""
    left, right = memory.free(evidence.left), memory.free(evidence.right)
    return bool(left and right) and abs(left - right) <= FIRMWARES_DIFFER


def firmware_keeps_little(evidence: Evidence) -> bool:
    """Of the machine's RAM, firmware keeps what its descriptors say, and no more than runtime services and tables need; a
    run without EFI has there what the machine has.
    """
    piece = memory.piece_of(evidence.fact)
    return piece is not None and all(_keeps_little(value, seen, piece) for value, seen in evidence.sides())


def _keeps_little(value: str, seen: Seen, piece: tuple[int, int]) -> bool:
    start, end = piece
    if "(Efi" in value:
        owner = value.partition("(")[2].rstrip(")")
        taken = [one for one in seen.facts.maps.get(memory.EFI_MAP, ()) if one.kind.partition(" ")[0] == owner]
        total = sum(one.end - one.start for one in seen.facts.maps.get(memory.E820, ()) if one.owner)
        return memory.inside(start, end, taken) and total <= FIRMWARE_KEEPS
    machine = seen.facts.maps.get(MACHINE_MEMORY, ())
    return not machine or all(a == b for low, high, a, b in spans(machine, _plain(seen)) if low < end and high > start)


def _plain(seen: Seen) -> tuple[Area, ...]:
    """The e820 map without what EFI took."""
    return tuple(Area(one.start, one.end, "RAM" if one.owner else one.kind) for one in seen.facts.maps.get(memory.E820, ()))


def in_bios_data_area(evidence: Evidence) -> bool:
    """A piece of the last page below 640 KiB."""
    piece = memory.piece_of(evidence.fact)
    return piece is not None and memory.ISA_HOLE[0] - memory.PAGE <= piece[0] and piece[1] <= memory.ISA_HOLE[0]


def in_isa_hole(evidence: Evidence) -> bool:
    """A piece between 640 KiB and 1 MiB."""
    piece = memory.piece_of(evidence.fact)
    return piece is not None and memory.ISA_HOLE[0] <= piece[0] and piece[1] <= memory.ISA_HOLE[1]


_FREED = re.compile(r"Freeing EFI boot services memory: (?P<kib>\d{1,18})K")


def boot_services_freed(evidence: Evidence) -> bool:
    """What is given back is what boot services used, but for the few pages that tables lie in, or those in the runtime map."""
    match = _FREED.search(evidence.fact.subject)
    if match is None:
        return False
    for _, seen in evidence.told():
        rest = memory.boot_services(seen) - int(match["kib"])
        if not 0 <= rest <= SLACK_KIB and rest != memory.boot_services_kept(seen):
            return False
    return True


def map_is_whole(evidence: Evidence) -> bool:
    """An EFI memory map of one side alone accounts for all the machine's RAM, and keeps little of it. The number of pages of
    a type is that of the map. The system table and the runtime services lie in memory of runtime services.
    """
    for value, seen in evidence.told():
        machine = [one for one in seen.facts.maps.get(MACHINE_MEMORY, ()) if one.kind == "RAM"]
        total = sum(one.end - one.start for one in seen.facts.maps.get(memory.E820, ()) if one.owner)
        areas = seen.facts.maps.get(memory.EFI_MAP, ())
        if total > FIRMWARE_KEEPS or not areas or not _has_runtime(seen, areas):
            return False
        pages = evidence.fact.field[:1] == ("memory_map",) and value.endswith(" pages")
        if pages and value != _pages_of(areas, evidence.fact.field[-1]):
            return False
        for _, _, a, b in spans(machine, areas):
            if a == "RAM" and not b:
                return False
    return True


def _has_runtime(seen: Seen, areas: tuple[Area, ...]) -> bool:
    """UEFI 2.10 sections 2.3 and 4.3: what is called at run time stays where it is."""
    view = seen.record.boot_view
    table = view.efi.system_table if view is not None and view.efi is not None else None
    runtime = [one for one in areas if one.kind.startswith("EfiRuntimeServices")]
    return table is not None and all(memory.inside(at, at + 1, runtime) for at in (table.address, table.runtime_services))


def _pages_of(areas: tuple[Area, ...], kind: str) -> str:
    return f"{sum(one.end - one.start for one in areas if one.kind == kind) // memory.PAGE} pages"
