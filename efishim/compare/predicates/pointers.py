"""Addresses that may be others: what lies there is the same, and it lies where something can lie."""

from __future__ import annotations

import re

from efishim.compare.evidence import Evidence, Seen
from efishim.compare.facts import Kind, Stage, given
from efishim.compare.inputs import INITRD, PHYSICAL_BASE
from efishim.compare.predicates import memory

LOWEST = 0x400
"""Below it lies the interrupt table of real mode; 0 is no address."""

KERNEL_HALF = 0xFFFF_FFFF_8000_0000
KERNEL_ALIGN = {True: 0x20_0000, False: 0x2000}
"""MIN_KERNEL_ALIGN (arch/x86/include/asm/boot.h): 2 MiB with 64 bits, two pages with 32."""

_NUMBER = re.compile(r"0x(?P<number>[0-9a-f]{1,16})", re.IGNORECASE)
_KERNEL_PART = re.compile(r"(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) : ")
_RANGE = re.compile(r"\[mem 0x(?P<start>[0-9a-f]+)-0x(?P<end>[0-9a-f]+)\]")


def number(value: str) -> int | None:
    """A value that is a number; None for a name or a text."""
    match = _NUMBER.fullmatch(value)
    return int(match["number"], 16) if match is not None else None


def somewhere(evidence: Evidence) -> bool:
    """Both have it, and each lies in memory that its run was told of: null is no place. A ramdisk is the same one."""
    if evidence.fact.subject == INITRD and evidence.fact.kind is Kind.ADDRESS:
        return same_ramdisk(evidence)
    return evidence.both and all(_is_place(value, seen) for value, seen in evidence.sides())


def in_memory(evidence: Evidence) -> bool:
    """Whoever has it has it in memory that the run was told of."""
    return all(_is_place(value, seen) for value, seen in evidence.told())


def _is_place(value: str, seen: Seen) -> bool:
    if value.startswith("&"):
        return True
    address = number(value)
    if address is None or address < LOWEST:
        return False
    if address >= KERNEL_HALF:
        return True
    areas = memory.known(seen)
    return not areas or memory.inside(address, address + 1, areas)


def same_ramdisk(evidence: Evidence) -> bool:
    """A ramdisk may lie elsewhere in RAM if it is the same, and if it lies over nothing else that was passed on."""
    left, right = evidence.left, evidence.right
    return evidence.both and _ramdisk(left) == _ramdisk(right) and _has_room(left) and _has_room(right)


def ramdisk_of_the_user(evidence: Evidence) -> bool:
    """The ramdisk that one run was passed is what the user gave, and lies in RAM."""
    return all(_is_the_users(seen) and _has_room(seen) for _, seen in evidence.told())


def _stages(seen: Seen) -> tuple[Stage, ...]:
    return tuple(stage for stage in (Stage.ENTRY, Stage.STARTUP_64) if given(stage, INITRD, "size") in seen.facts.inputs)


def _ramdisk(seen: Seen) -> set[tuple[str, ...]]:
    told = seen.facts.inputs
    return {tuple(told.get(given(stage, INITRD, what), "") for what in ("size", "sha256")) for stage in _stages(seen)}


def _has_room(seen: Seen) -> bool:
    told = seen.facts.inputs
    for stage in _stages(seen):
        start = number(told.get(given(stage, INITRD, kind=Kind.ADDRESS), ""))
        size = number(told.get(given(stage, INITRD, "size"), "")) or 0
        if start is None or start < memory.PAGE or not memory.inside_ram(start, start + size, seen):
            return False
        others = (number(told.get(given(stage, name, kind=Kind.ADDRESS), "")) for name in ("boot_params", "command_line"))
        if any(other is not None and start <= other < start + size for other in others):
            return False
    return True


def _is_the_users(seen: Seen) -> bool:
    files = seen.record.options.initrds
    sizes = {given_size for given_size, _ in _ramdisk(seen)}
    if len(files) == 1:
        return _ramdisk(seen) <= {(f"{files[0].size:#x}", files[0].sha256)}
    return all((number(size) or 0) >= sum(one.size for one in files) for size in sizes)


def kernel_place(evidence: Evidence) -> bool:
    """The kernel may lie wherever RAM is, aligned as it asks for; its virtual addresses move by whole alignments."""
    if not evidence.both:
        return False
    wide = all(seen.record.boot_view is None or seen.record.boot_view.cpu.mode == "long64" for _, seen in evidence.sides())
    align = KERNEL_ALIGN[wide]
    bases = [number(value) or 0 for value, _ in evidence.sides()]
    if (bases[0] - bases[1]) % align:
        return False
    if evidence.fact == PHYSICAL_BASE:
        places = zip(bases, evidence.sides(), strict=True)
        return all(base >= memory.MIB and memory.inside_ram(base, base + 1, seen) for base, (_, seen) in places)
    return not wide or all(base >= KERNEL_HALF for base in bases)


def part_of_kernel(evidence: Evidence) -> bool:
    """A part of the kernel in /proc/iomem lies at the same distance from its beginning, and is as large."""
    found = []
    for value, seen in evidence.sides():
        base = number(seen.facts.inputs.get(PHYSICAL_BASE, ""))
        match = _KERNEL_PART.search(value)
        if base is None or match is None:
            return False
        found.append((int(match["start"], 16) - base, int(match["end"], 16) - base))
    return found[0] == found[1]


def ranges_alike(evidence: Evidence) -> bool:
    """Lines that differ in ranges of memory only: each as long as the other's, and in memory that its run was told of."""
    lengths = []
    for value, seen in evidence.sides():
        found = [(int(one["start"], 16), int(one["end"], 16) + 1) for one in _RANGE.finditer(value)]
        areas = memory.known(seen)
        if not found or not all(memory.inside(start, end, areas) for start, end in found):
            return False
        lengths.append([end - start for start, end in found])
    return lengths[0] == lengths[1]


def addresses_in_memory(evidence: Evidence) -> bool:
    """Lines that differ in addresses only: as many on both sides, none of them null, all in memory that was told of."""
    counts = []
    for value, seen in evidence.sides():
        found = [int(one["number"], 16) for one in _NUMBER.finditer(value) if len(one["number"]) > 5]
        areas = memory.known(seen)
        if not found or not all(one >= KERNEL_HALF or (one >= LOWEST and memory.inside(one, one + 1, areas)) for one in found):
            return False
        counts.append(len(found))
    return counts[0] == counts[1]


def ramdisk_of_the_log(evidence: Evidence) -> bool:
    """`RAMDISK:` is where the run was told that it is, in whole pages (arch/x86/kernel/setup.c, reserve_initrd())."""
    for value, seen in evidence.told():
        match = _RANGE.search(value)
        told = seen.facts.inputs
        start = number(told.get(given(Stage.STARTUP_64, INITRD, kind=Kind.ADDRESS), ""))
        size = number(told.get(given(Stage.STARTUP_64, INITRD, "size"), ""))
        if match is None or start is None or size is None:
            return False
        end = -(-(start + size) // memory.PAGE) * memory.PAGE
        if (int(match["start"], 16), int(match["end"], 16) + 1) != (start, end):
            return False
    return evidence.both
