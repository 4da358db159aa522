"""A report of the probe kernel as fields that can be compared between machines.

What the report numbers in the order of a machine's lists is named by what it is instead: a configuration table by its GUID, an
ACPI table by its signature, a structure by its type. Of a memory map stays what is the same on machines that put things
elsewhere: which types there are, and with which attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.support.probe_report import ProbeReport, pairs

_ROW = re.compile(r"(?:^| )[a-z0-9_]+:")
_NUMBERED = re.compile(r"(?P<list>efi\.config|efi\.memory_map|acpi\.table|acpi\.madt|smbios\.structure)\.\d+")
_NAME = {
    "efi.config": "guid",
    "efi.memory_map": "type",
    "acpi.table": "signature",
    "acpi.madt": "type",
    "smbios.structure": "type",
}
_PLACES = {"efi.memory_map": {"phys", "pages"}}
"""What of a row says where something lies."""


def fields(report: ProbeReport) -> dict[str, str]:
    """Every field by a name that does not depend on order. Where several rows have one name, their values in order of size."""
    found: dict[str, list[str]] = {}
    for name, value in _fields(report):
        found.setdefault(name, []).append(value)
    return {name: ", ".join(sorted(set(values))) for name, values in found.items()}


def _fields(report: ProbeReport) -> Iterator[tuple[str, str]]:
    yield "entry", report.entry
    for key, value in report.fields.items():
        numbered = _NUMBERED.fullmatch(key)
        if numbered is None and not (_ROW.search(value) and not key.startswith("efi.loaded_image.")):
            yield key, value
            continue
        head, _, rest = value.partition(" ") if numbered is None and not re.match(r"[a-z0-9_]+:", value) else ("", "", value)
        row = pairs(rest)
        name = key
        if numbered is not None:
            kind = numbered["list"]
            name = f"{kind}.{row.pop(_NAME[kind])}"
            row = {part: text for part, text in row.items() if part not in _PLACES.get(kind, ())}
        if head:
            yield name, head  # a status in front of the pairs
        for part, text in row.items():
            yield f"{name}.{part}", text
