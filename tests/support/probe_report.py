"""Reading what the probe kernel says; its form is described in efishim_firmware_stubs/probe/README.md."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BEGIN = "probe: begin entry="
_END = "probe: end"
_LINE = re.compile(r"(?P<key>[A-Za-z0-9_.]+)=(?P<value>[ -~]*)")


@dataclass(frozen=True)
class ProbeReport:
    """One report. Keys are unique and in the order in which they were told."""

    entry: str
    fields: dict[str, str]
    after: tuple[str, ...]
    """What the kernel said behind the report: what it was asked to provoke, exceptions, how it powers off."""

    def number(self, key: str) -> int:
        """The value of a key as a number. Raises KeyError, ValueError."""
        return int(self.fields[key], 16)

    def row(self, key: str) -> dict[str, str]:
        """The value of a key as `name:value` pairs. Raises KeyError."""
        return pairs(self.fields[key])

    def numbers(self, key: str) -> dict[str, int]:
        """The same with numbers for values. Raises KeyError, ValueError."""
        return {name: int(value, 16) for name, value in self.row(key).items()}

    def rows(self, prefix: str) -> list[dict[str, str]]:
        """The pairs of `prefix.0`, `prefix.1` and so on."""
        found: list[dict[str, str]] = []
        while (key := f"{prefix}.{len(found)}") in self.fields:
            found.append(self.row(key))
        return found


def pairs(value: str) -> dict[str, str]:
    """`name:value name:value` taken apart. A value ends at the next name, so that it may hold spaces."""
    parts = re.split(r"(?:^| )([a-z0-9_]+):", value)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def parse(serial: str) -> ProbeReport:
    """The one report in what came over the serial port. Raises ValueError when it is not complete and well-formed."""
    lines = serial.split("\n")
    begins = [number for number, line in enumerate(lines) if line.startswith(_BEGIN)]
    if len(begins) != 1:
        raise ValueError(f"{len(begins)} reports begin")
    begin = begins[0]
    try:
        end = lines.index(_END, begin)
    except ValueError:
        raise ValueError(f"the report does not end; its last line is {lines[-1]!r}") from None
    fields: dict[str, str] = {}
    for line in lines[begin + 1 : end]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"not a line of a report: {line!r}")
        if match["key"] in fields:
            raise ValueError(f"{match['key']} is told twice")
        fields[match["key"]] = match["value"]
    after = tuple(line for line in lines[end + 1 :] if line.startswith("probe: "))
    return ProbeReport(lines[begin].removeprefix(_BEGIN), fields, after)
