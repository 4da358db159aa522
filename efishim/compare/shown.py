"""What the kernel shows of its memory: the maps that it prints and lists, as ranges, and its totals as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from efishim.compare.facts import Area, Fact, Kind, Stage, given

IOMEM = given(Stage.USERSPACE, "/proc/iomem", kind=Kind.MAP)
FIRMWARE_MAP = given(Stage.USERSPACE, "BIOS-e820", kind=Kind.MAP)
SETUP_DATA_MAP = given(Stage.USERSPACE, "reserve setup_data", kind=Kind.MAP)
NODE_MAP = given(Stage.USERSPACE, "node 0", kind=Kind.MAP)
NOSAVE_MAP = given(Stage.USERSPACE, "nosave", kind=Kind.MAP)

LIMIT = 512
"""More ranges than any machine has; lines of hostile consoles are cut there."""

_RANGE = r"\[mem (?:0x)?(?P<start>[0-9a-f]{1,16})-(?:0x)?(?P<end>[0-9a-f]{1,16})\]"
_PRINTED: tuple[tuple[Fact, re.Pattern[str]], ...] = (
    # arch/x86/kernel/e820.c, e820__print_table()
    (FIRMWARE_MAP, re.compile(rf"BIOS-e820: {_RANGE} (?P<kind>.{{1,64}})")),
    (SETUP_DATA_MAP, re.compile(rf"reserve setup_data: {_RANGE} (?P<kind>.{{1,64}})")),
    # mm/mm_init.c, free_area_init()
    (NODE_MAP, re.compile(rf"\s*node\s+0: {_RANGE}(?P<kind>)")),
    # kernel/power/snapshot.c, register_nosave_region()
    (NOSAVE_MAP, re.compile(rf"PM: hibernation: Registered nosave memory: {_RANGE}(?P<kind>)")),
)

OF_E820 = frozenset(
    {
        *("System RAM", "Reserved", "ACPI Tables", "ACPI Non-volatile Storage", "RAM buffer", "Unknown E820 type"),
        *("Unusable memory", "Persistent Memory", "Persistent Memory (legacy)", "Soft Reserved"),
    }
)
"""Names in /proc/iomem that come from the e820 map (arch/x86/kernel/e820.c, e820_type_to_string() and
e820__reserve_resources_late()); everything else there is a device or a part of the kernel.
"""

_IOMEM_LINE = re.compile(r"\s*(?P<start>[0-9a-f]{1,16})-(?P<end>[0-9a-f]{1,16}) : (?P<kind>\S.*)")


def printed_maps(log: Iterable[str], iomem: Iterable[str]) -> Mapping[Fact, tuple[Area, ...]]:
    """The maps in the kernel's log and in /proc/iomem; those that are not there are left out."""
    found: dict[Fact, list[Area]] = {}
    for line in log:
        for fact, pattern in _PRINTED:
            match = pattern.fullmatch(line)
            if match is not None:
                found.setdefault(fact, []).append(_area(match, printed_kind(match["kind"]) or "there"))
    for line in iomem:
        match = _IOMEM_LINE.fullmatch(line)
        if match is not None and match["kind"] in OF_E820:
            found.setdefault(IOMEM, []).append(_area(match, match["kind"]))
    return {fact: tuple(sorted(areas[:LIMIT], key=lambda one: (one.start, one.end))) for fact, areas in found.items()}


def _area(match: re.Match[str], kind: str) -> Area:
    return Area(int(match["start"], 16), int(match["end"], 16) + 1, kind)


_ALSO_CALLED = {"System RAM": "usable", "device reserved": "reserved"}
"""Kinds of memory have had other names in the log."""


def printed_kind(name: str) -> str:
    """The kind of a range as the log has it, in one wording."""
    return _ALSO_CALLED.get(name.strip(), name.strip())


def is_printed_map(line: str) -> bool:
    """Is it a line of the log whose range is compared as part of a map?"""
    return any(pattern.fullmatch(line) for _, pattern in _PRINTED)


def is_listed_map(line: str) -> bool:
    """The same of a line of /proc/iomem."""
    match = _IOMEM_LINE.fullmatch(line)
    return match is not None and match["kind"] in OF_E820


_TOTAL = re.compile(r"Memory: (?P<free>\d{1,18})K/(?P<total>\d{1,18})K available \(.*?(?P<reserved>\d{1,18})K reserved")
_MEM_TOTAL = re.compile(r"MemTotal:\s+(?P<total>\d{1,18}) kB")
_ADDRESSES = re.compile(r"0x(?P<number>[0-9a-f]{1,16})")


def memory_total(line: str) -> tuple[int, int, int] | None:
    """KiB that are free, present and reserved, of the line that mem_init_print_info() prints."""
    match = _TOTAL.search(line)
    return None if match is None else (int(match["free"]), int(match["total"]), int(match["reserved"]))


def mem_total(line: str) -> int | None:
    """KiB of MemTotal in /proc/meminfo."""
    match = _MEM_TOTAL.search(line)
    return None if match is None else int(match["total"])


def addresses(line: str) -> Iterator[int]:
    """Numbers with 0x in a line."""
    return (int(match["number"], 16) for match in _ADDRESSES.finditer(line))
