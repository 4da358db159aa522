"""EFI's tables as the kernel shows them, and lines that repeat what is judged elsewhere."""

from __future__ import annotations

import re

from efishim.compare.evidence import Evidence, Seen
from efishim.compare.facts import Kind, did
from efishim.compare.predicates import memory
from efishim.compare.predicates.never import complaint, is_grave
from efishim.compare.predicates.pointers import number
from efishim.lab.kernel_log import normalise
from efishim.lab.record import EfiMemoryView

_RUNTIME = re.compile(
    r"\d{1,9} type=0x(?P<type>[0-9a-f]+) phys_addr=0x(?P<start>[0-9a-f]+) virt_addr=0x(?P<virtual>[0-9a-f]+)"
    r" num_pages=0x(?P<pages>[0-9a-f]+) attribute=0x(?P<attribute>[0-9a-f]+)"
)
_BOOT_SERVICES = (3, 4)


def runtime_map_as_told(evidence: Evidence) -> bool:
    """Each line of the runtime map is a descriptor of the map that this run was told, and lies in whole pages."""
    for value, seen in evidence.told():
        found = list(_RUNTIME.finditer(value)) or list(_RUNTIME.finditer(".".join(evidence.fact.field)))
        if not found or not all(_is_told(match, seen) for match in found):
            return False
    return True


def _is_told(match: re.Match[str], seen: Seen) -> bool:
    view = seen.record.boot_view
    if view is None or view.efi is None or view.efi.memory_map is None:
        return False
    kind, start, pages, attribute = (int(match[name], 16) for name in ("type", "start", "pages", "attribute"))
    # The kernel merges neighbours of one type (arch/x86/platform/efi/efi.c, efi_merge_regions()).
    # What it reserves of boot services' memory, it marks as needed at run time (quirks.c, efi_arch_mem_reserve()).
    end = start + pages * memory.PAGE
    told = [one for one in view.efi.memory_map.descriptors if int(one.type) == kind]
    if kind in _BOOT_SERVICES and any(_holds(one, start, end) for one in told):
        return True
    alike = [one for one in told if int(one.attribute) == attribute]
    ends = {int(one.physical_start): int(one.physical_start) + (one.number_of_pages << 12) for one in alike}
    at = start
    while at < end and at in ends:
        at = ends[at]
    return at == end


def _holds(one: EfiMemoryView, start: int, end: int) -> bool:
    return one.physical_start <= start and end <= one.physical_start + (one.number_of_pages << 12)


_TABLE = re.compile(r"(?P<name>[A-Za-z0-9_. ]{1,64}?)=(?P<address>0x[0-9a-f]+)")


def tables_as_told(evidence: Evidence) -> bool:
    """Each address in the line is one of a configuration table, or lies in one that this run was told of."""
    for value, seen in evidence.told():
        view = seen.record.boot_view
        table = view.efi.system_table if view is not None and view.efi is not None else None
        fact = evidence.fact
        said = ".".join((fact.subject, *fact.field)) if fact.kind is Kind.LOG else ".".join(fact.field)
        found = list(_TABLE.finditer(value)) or list(_TABLE.finditer(said))
        if table is None or not found:
            return False
        told = {int(one.address) for one in table.configuration_tables}
        if not all(int(match["address"], 16) in told for match in found):
            return False
    return True


def says_it_of_its_own(evidence: Evidence) -> bool:
    """A line of the report's warnings that the log of the same run has, and that is no complaint."""
    line = complaint(evidence.fact)
    known = did(Kind.LOG, normalise(line))
    return not is_grave(evidence.fact) and all(known in seen.facts.behaviour for _, seen in evidence.told())


def version_as_told(evidence: Evidence) -> bool:
    """The boot protocol that the kernel shows is the one in its boot_params."""
    for _, seen in evidence.told():
        view = seen.record.boot_view
        if view is None or number(evidence.fact.field[-1]) != view.boot_params.number("hdr.version"):
            return False
    return True


_CLOCK = re.compile(r"\((?P<seconds>\d{1,18})\)$")
BOOT_SECONDS = 600
"""Longer than any boot takes in virtual time."""


def clock_of_the_run(evidence: Evidence) -> bool:
    """The clock shows the epoch that was asked for, and a little more."""
    for value, seen in evidence.told():
        match = _CLOCK.search(value) or _CLOCK.search(evidence.fact.subject)
        if match is None or not 0 <= int(match["seconds"]) - seen.record.options.epoch <= BOOT_SECONDS:
            return False
    return True


_BIOS_ANSWERS = frozenset({"unfinished", "CF=0"})
_BIOS_REFUSALS = frozenset(
    {("int 13h/02", "CF=1 AH=01"), ("int 13h/41", "CF=1 AH=01"), ("int 15h/E980", "CF=1 AH=86"), ("int 15h/5300", "CF=1 AH=86")}
)
"""No disk, no SpeedStep, no power management: that is what the setup code is told on a machine without them."""


def bios_answers(evidence: Evidence) -> bool:
    """A BIOS call that was answered, or that has nothing to answer on a machine without the device."""
    fact = evidence.fact
    status = fact.field[-1]
    return status in _BIOS_ANSWERS or (fact.subject, status) in _BIOS_REFUSALS
