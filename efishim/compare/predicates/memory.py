"""What memory maps must have in common: each is computed from what its own run was told, never from the other's."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from efishim.compare.areas import spans
from efishim.compare.evidence import Seen
from efishim.compare.facts import Area, Fact, Kind, Stage, did
from efishim.compare.inputs import ENTRY_MEMORY, KEPT_BY_EFI, MACHINE_MEMORY, e820_map, efi_map
from efishim.compare.shown import FIRMWARE_MAP, IOMEM, NODE_MAP, NOSAVE_MAP, SETUP_DATA_MAP

PAGE = 0x1000
MIB = 1 << 20
SECTION = 128 * MIB
"""Memory map entries are made for whole sections (arch/x86/include/asm/sparsemem.h, SECTION_SIZE_BITS)."""

E820, EFI_MAP = e820_map(Stage.STARTUP_64), efi_map(Stage.STARTUP_64)
RAM_KINDS = frozenset({"RAM", "RESERVED_KERN"})
ISA_HOLE = (0xA_0000, 0x10_0000)

_PRINTED_AS = {
    "RAM": "usable",
    "RESERVED_KERN": "usable",
    "RESERVED": "reserved",
    "SOFT_RESERVED": "soft reserved",
    "ACPI": "ACPI data",
    "NVS": "ACPI NVS",
    "UNUSABLE": "unusable",
}
"""arch/x86/kernel/e820.c, e820_print_type()."""

_LISTED_AS = {
    "RAM": "System RAM",
    "RESERVED_KERN": "System RAM",
    "RESERVED": "Reserved",
    "SOFT_RESERVED": "Soft Reserved",
    "ACPI": "ACPI Tables",
    "NVS": "ACPI Non-volatile Storage",
    "UNUSABLE": "Unusable memory",
    "unknown": "Unknown E820 type",
}
"""arch/x86/kernel/e820.c, e820_type_to_string()."""

_STRONGER = ("RAM", "RESERVED", "ACPI", "NVS", "UNUSABLE", "RESERVED_KERN", "SOFT_RESERVED")
"""Where ranges overlap, the larger type wins (arch/x86/kernel/e820.c, e820__update_table()), as far as they occur."""

_UNNAMED = re.compile(r"type \d{1,10}")
"""What the kernel prints of a type that it does not know."""

RAM_BUFFER = "RAM buffer"
RUNTIME_MAP = "/sys/firmware/efi/runtime-map"

NO_PCI = did(Kind.LOG, "PCI: System does not support PCI")
_LISTED_LATE = frozenset({"RESERVED", "SOFT_RESERVED"})
"""What may hold devices of PCI is listed once they have been found, and not at all without PCI (arch/x86/kernel/e820.c,
do_mark_busy() and e820__reserve_resources_late(); arch/x86/pci/legacy.c, pci_subsys_init()).
"""


def piece_of(fact: Fact) -> tuple[int, int] | None:
    """The range that a fact is about; None for what is no piece of a map."""
    if fact.kind is not Kind.RANGE:
        return None
    start, _, end = fact.field[-1].partition("-")
    return int(start, 16), int(end, 16)


def whole_of(fact: Fact) -> Fact:
    """The map that a piece belongs to."""
    if fact.kind is not Kind.RANGE:
        return fact
    return Fact(fact.side, fact.stage, fact.subject, fact.field[:-1], Kind.MAP)


def told_map(seen: Seen) -> tuple[Area, ...]:
    """The e820 map that the kernel proper was given, without overlaps."""
    return resolved(seen.facts.maps.get(E820, ()))


def resolved(areas: Sequence[Area]) -> tuple[Area, ...]:
    """Disjoint areas; where several lie over each other, the strongest."""
    found = []
    for start, end, label, _ in spans(areas, ()):
        kinds = [part.partition(" (")[0] for part in label.split("+")]
        found.append(Area(start, end, max(kinds, key=_strength)))
    return tuple(found)


def _strength(kind: str) -> int:
    return _STRONGER.index(kind) if kind in _STRONGER else len(_STRONGER)


def ram(seen: Seen) -> tuple[tuple[int, int], ...]:
    """Ranges of RAM as the kernel uses them: whole pages, neither the first one nor the ISA hole
    (arch/x86/kernel/setup.c, trim_bios_range()).
    """
    found: list[tuple[int, int]] = []
    for area in told_map(seen):
        if area.kind not in RAM_KINDS:
            continue
        for start, end in _without_holes(area.start, area.end):
            if found and found[-1][1] == start:
                found[-1] = found[-1][0], end
            else:
                found.append((start, end))
    whole = ((-(-start // PAGE) * PAGE, end // PAGE * PAGE) for start, end in found)
    return tuple((start, end) for start, end in whole if start < end)


def _without_holes(start: int, end: int) -> Iterator[tuple[int, int]]:
    low, high = ISA_HOLE
    for a, b in ((max(start, PAGE), min(end, low)), (max(start, high), end)):
        if a < b:
            yield a, b


def ram_pages(seen: Seen) -> int:
    """How many pages that is: what the kernel calls present."""
    return sum(end - start for start, end in ram(seen)) // PAGE


def holes(seen: Seen) -> tuple[int, ...]:
    """Pages of each gap between ranges of RAM, before the first, and behind the last up to the end of its section."""
    found, last = [], 0
    for start, end in ram(seen):
        if start > last:
            found.append((start - last) // PAGE)
        last = end
    return (*found, (-last % SECTION) // PAGE)


def expected(whole: Fact, seen: Seen) -> tuple[Area, ...]:
    """What a map that the kernel shows must be, computed from the e820 map that it was told."""
    if whole in (FIRMWARE_MAP, SETUP_DATA_MAP):
        return tuple(Area(one.start, one.end, _PRINTED_AS.get(one.kind, one.kind)) for one in told_map(seen))
    if whole == NODE_MAP:
        return tuple(Area(start, end, "there") for start, end in ram(seen))
    if whole == NOSAVE_MAP:
        return tuple(_nosave(seen))
    if whole == IOMEM:
        return tuple(_listed(seen))
    return ()


def _nosave(seen: Seen) -> Iterator[Area]:
    """arch/x86/kernel/e820.c, e820__register_nosave_regions(): what is no RAM, up to its end."""
    last = 0
    for start, end in ram(seen):
        if start > last:
            yield Area(last, start, "there")
        last = end


def _listed(seen: Seen) -> Iterator[Area]:
    """/proc/iomem: the first page is reserved, and the ISA hole is no RAM."""
    late = NO_PCI not in seen.facts.behaviour
    for one in told_map(seen):
        name = _LISTED_AS.get(one.kind, one.kind)
        if one.kind not in RAM_KINDS:
            if late or one.start < MIB or one.kind not in _LISTED_LATE:
                yield Area(one.start, one.end, name)
            continue
        if one.start < PAGE:
            yield Area(one.start, min(PAGE, one.end), "Reserved")
        yield from (Area(start, end, name) for start, end in _without_holes(one.start, one.end))


def follows(whole: Fact, seen: Seen, piece: tuple[int, int] | None = None) -> bool:
    """Is a map that the kernel shows what its own e820 map makes it, in a piece or everywhere?"""
    shown = seen.facts.maps.get(whole)
    told = told_map(seen)
    if shown is None or not told:
        view = seen.record.boot_view
        return (
            whole == SETUP_DATA_MAP and shown is None and view is not None and not (view.setup_data and view.setup_data.nodes)
        )
    if whole == IOMEM:
        shown = tuple(one for one in shown if one.kind != RAM_BUFFER or not _behind_ram(one, seen))
    start, end = piece or (0, 1 << 64)
    broken: frozenset[int] = frozenset()
    if whole == NOSAVE_MAP:  # behind the end of RAM, kernels differ in where they stop, and in pages that setup_data breaks
        end = min(end, max((high for _, high in ram(seen)), default=0))
        edges = (edge for one in seen.facts.maps.get(SETUP_DATA_MAP, ()) for edge in (one.start, one.end))
        broken = frozenset(edge // PAGE * PAGE for edge in edges if edge % PAGE)
    shown = tuple(replace(one, kind="unknown") if _UNNAMED.fullmatch(one.kind) else one for one in shown)
    wanted, there = ([one for one in areas if one.start < end and one.end > start] for areas in (expected(whole, seen), shown))
    pieces = [piece for piece in spans(wanted, there) if piece[0] < end and piece[1] > start]
    return all(a == b or (low in broken and high <= low + PAGE) for low, high, a, b in pieces)


def _behind_ram(area: Area, seen: Seen) -> bool:
    """Does it begin where RAM ends? The kernel keeps devices from the rest of the last block."""
    return any(area.start == end for _, end in ram(seen))


def kept(seen: Seen) -> Counter[str]:
    """Bytes above 1 MiB that EFI firmware keeps after the boot, by type."""
    return _sizes(seen, lambda kind: kind.partition(" ")[0] in KEPT_BY_EFI or kind.endswith("RUNTIME"))


def taken(seen: Seen) -> Counter[str]:
    """Bytes of the machine's RAM that EFI firmware keeps after the boot, by type."""
    found: Counter[str] = Counter()
    plain = [one for one in seen.facts.maps.get(MACHINE_MEMORY, ()) if one.kind == "RAM"]
    for area in seen.facts.maps.get(EFI_MAP, ()):
        if area.kind.partition(" ")[0] in KEPT_BY_EFI or area.kind.endswith("RUNTIME"):
            found[area.kind] += sum(max(min(area.end, one.end) - max(area.start, one.start), 0) for one in plain)
    return found


def free(seen: Seen) -> int:
    """Bytes above 1 MiB that are the operating system's after ExitBootServices() (UEFI 2.10 table 7.10)."""
    return sum(_sizes(seen, lambda kind: kind in FREE).values())


FREE = frozenset({"EfiConventionalMemory", "EfiBootServicesCode", "EfiBootServicesData", "EfiLoaderCode", "EfiLoaderData"})


def _sizes(seen: Seen, wanted: object) -> Counter[str]:
    assert callable(wanted)
    found: Counter[str] = Counter()
    for one in seen.facts.maps.get(EFI_MAP, ()):
        if wanted(one.kind) and one.end > MIB:
            found[one.kind] += one.end - max(one.start, MIB)
    return found


def boot_services(seen: Seen) -> int:
    """KiB that boot services use, which the kernel gives back late (arch/x86/platform/efi/quirks.c)."""
    used = (one for one in seen.facts.maps.get(EFI_MAP, ()) if one.kind.startswith("EfiBootServices"))
    return sum(one.end - one.start for one in used) >> 10


_PAGES = re.compile(r"\d{1,4} type=0x[34] .*\bnum_pages=0x(?P<pages>[0-9a-f]{1,12})\b")


def boot_services_kept(seen: Seen) -> int:
    """KiB of it that the kernel shows in the runtime map, as tables lie there that it needs
    (arch/x86/platform/efi/quirks.c, efi_arch_mem_reserve()).
    """
    listed = (".".join(fact.field) for fact in seen.facts.behaviour if fact.subject == RUNTIME_MAP)
    pages = (int(match["pages"], 16) for line in listed for match in [_PAGES.match(line)] if match is not None)
    return sum(pages) * (PAGE >> 10)


def known(seen: Seen) -> tuple[Area, ...]:
    """Everything that is said to be memory, by the machine, the native structure, e820 or EFI."""
    maps = seen.facts.maps
    return tuple(area for whole in (MACHINE_MEMORY, ENTRY_MEMORY, E820, EFI_MAP) for area in maps.get(whole, ()))


def inside(start: int, end: int, areas: Iterable[Area]) -> bool:
    """Does a range lie in one of the areas?"""
    return any(area.start <= start and end <= area.end for area in areas)


def inside_ram(start: int, end: int, seen: Seen) -> bool:
    """Does it lie in RAM, as far as the run was told what is RAM?"""
    plain = [area for area in seen.facts.maps.get(MACHINE_MEMORY, ()) if area.kind == "RAM"]
    native = [area for area in known(seen) if area.kind in RAM_KINDS or area.kind in FREE]
    return inside(start, end, plain or native)
