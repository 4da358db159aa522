"""Reading what the reporting init says; its form is described in efishim_firmware_stubs/init/init.elf.asm."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BEGIN = "efishim-init: begin"
_END = "efishim-init: end"
_SECTION = re.compile(r"efishim-init: \[(?P<name>.+)\](?: error=-(?P<error>\d+))?")


@dataclass(frozen=True)
class Section:
    """One section: its lines, or the errno(3) that kept it from being read."""

    error: int = 0
    lines: list[str] = field(default_factory=list)


def parse(console: str) -> dict[str, Section]:
    """The sections by name. Raises ValueError when the report is missing, cut off or mixed with something else."""
    lines = [line.rstrip("\r") for line in console.split("\n")]
    try:
        begin = lines.index(_BEGIN)
        end = lines.index(_END, begin)
    except ValueError:
        raise ValueError("the init's report is missing or cut off") from None
    sections: dict[str, Section] = {}
    current: Section | None = None
    for line in lines[begin + 1 : end]:
        match = _SECTION.fullmatch(line)
        if match is not None:
            current = sections[match["name"]] = Section(int(match["error"] or 0))
        elif current is not None and line.startswith("| "):
            current.lines.append(line.removeprefix("| "))
        else:
            raise ValueError(f"not a line of a report: {line!r}")
    return sections
