"""Baselines: the boot information and behaviour of one route, as lines that can be reviewed in a diff.

Exact, except what depends on KASLR and time: where the kernel proper lies, what leftovers are in registers that no contract
defines, and how much was done of what is done again and again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from efishim.compare.areas import piece
from efishim.compare.behaviour import WARNINGS, call_fact, hardware_fact, sections
from efishim.compare.facts import CPU, Fact, Kind, Stage, by_path
from efishim.compare.inputs import efi_map, inputs
from efishim.compare.lines import unified
from efishim.errors import EfishimError
from efishim.lab.record import Record

VERSION = 2
READABLE = frozenset({"1", "2"})
"""Version 1 had all sections in one file, and the image's hash."""

LIMIT = 8 << 20
"""Largest file that is read as a baseline, bytes."""

CONTEXT = 2
"""Unchanged lines around a change."""


class BaselineError(EfishimError):
    """A baseline cannot be read."""

    exit_status = 2


@dataclass(frozen=True, slots=True)
class Check:
    """One section of one route against its baseline. `diff` has the lines of a unified diff, none when they are the same."""

    section: str
    diff: tuple[str, ...]


SECTIONS = ("run", "milestones", "told", "calls", "hardware", "log", "userspace", "code")

FILES: Mapping[str, tuple[str, ...]] = {
    ".txt": ("run", "milestones", "told", "calls", "hardware"),
    ".log.txt": ("log", "userspace"),
    ".code.txt": ("code",),
}
"""Files of a baseline by the end of their names, and what is in each: a reviewer reads the first, which is small."""

_MOVED_REGISTERS = {
    Stage.STARTUP_64: re.compile(r"r[a-z]x|r[ds]i|rbp|rsp|rip|r\d+|eflags|cr2"),
    Stage.START_KERNEL: re.compile(r"rip|rsp"),
}


def moved_by_kaslr(fact: Fact) -> bool:
    """Does it say where things lie after the kernel's own code chose? What lies there is compared by its contents."""
    registers = _MOVED_REGISTERS.get(fact.stage)
    if registers is None:
        return fact.stage is Stage.KERNEL
    if fact.kind is Kind.ADDRESS:
        return True
    return fact.subject == CPU and any(registers.fullmatch(name) for name in fact.field[:1])


MOVED_MAPS = frozenset({efi_map(Stage.STARTUP_64), efi_map(Stage.START_KERNEL)})
"""Maps that show where the stub put the kernel; their pages are counted by type."""

_MEMORY_LINE = re.compile(r"^(Memory: )\d+K(/\d+K available \(.*), \d+K reserved,")


_MASKS = (
    (re.compile(r"(?<=kernel key: )[0-9a-f]{40}\b"), "HASH"),  # of the key that a build makes for its modules (certs/Makefile)
    (re.compile(r"(?<=memory: )\d+K$"), "NK"),  # freed, as large as the build made it (mm/page_alloc.c, free_reserved_area())
    (_MEMORY_LINE, r"\1N\2, N reserved,"),
)
"""What another build of the same source prints otherwise."""

_BUILD = re.compile(r"^((?:/proc/version: )?Linux version \S+) .*")
"""Who built the kernel with what, and when (init/version.c, linux_banner)."""


def text(record: Record, names: Collection[str] = SECTIONS) -> str:
    """A file with these sections of a record, and its last newline."""
    return written({name: list(make(record)) for name, make in _MAKERS.items() if name in names})


def section_lines(record: Record, name: str) -> Iterator[str]:
    """The lines of one section."""
    return _MAKERS[name](record)


def written(sections: Mapping[str, Sequence[str]]) -> str:
    """A file with these sections."""
    lines = [
        f"# efishim baseline {VERSION}",
        "# What one route told the kernel and what the kernel did. `efishim baseline check --update` rewrites it.",
    ]
    for name, content in sections.items():
        lines += ["", f"[{name}]", *content]
    return "\n".join(_line(line) for line in lines) + "\n"


def _line(line: str) -> str:
    """One line of a file: what comes from the guest has no line ends and no control characters."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)


def checks(wanted: str, record: Record, names: Collection[str] = SECTIONS) -> list[Check]:
    """These sections of a record against the text of its baseline, and what the baseline has besides. Raises BaselineError for
    a text that is none.
    """
    before, after = parse(wanted), parse(text(record))
    others = tuple(name for name in {**before, **after} if name not in SECTIONS)
    return [
        Check(name, tuple(unified(before.get(name, []), after.get(name, []), CONTEXT)))
        for name in (*SECTIONS, *others)
        if name in names or name in others
    ]


def summary(found: Sequence[Check]) -> str:
    """What changed, in one line: `told +0 -3, code +812 -0`."""
    parts = []
    for one in found:
        new, gone = (sum(line.startswith(sign) for line in one.diff) for sign in "+-")
        if new or gone:
            parts.append(f"{one.section} +{new} -{gone}")
    return ", ".join(parts)


def parse(content: str) -> dict[str, list[str]]:
    """The sections of a baseline. Raises BaselineError."""
    lines = content.split("\n")
    if not lines[0].startswith("# efishim baseline "):
        raise BaselineError("the file is not a baseline", hint="`efishim baseline save` makes them")
    if lines[0].removeprefix("# efishim baseline ") not in READABLE:
        raise BaselineError(
            f"the baseline is of version {lines[0].rpartition(' ')[2]!r}, this efishim reads {VERSION}",
            hint="`efishim baseline check --update` rewrites it",
        )
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines[1:]:
        match = re.fullmatch(r"\[(\w+)\]", line)
        if match is not None:
            current = found.setdefault(match[1], [])
        elif line and current is not None:
            current.append(line)
    return found


def _run(record: Record) -> Iterator[str]:
    image, route, options = record.image, record.route, record.options
    # A rebuild of the same source has another hash and another date: what it does is compared, not what it is.
    yield f"image.version = {image.version.partition(' ')[0]}"
    yield f"route = {route.provider}/{route.entry}@{route.platform}"
    yield f"cmdline = {options.cmdline}"
    yield from (f"initrd[{index}].sha256 = {one.sha256}" for index, one in enumerate(options.initrds))
    yield from (f"initrd[{index}].cmdline = {one.cmdline}" for index, one in enumerate(options.initrds) if one.cmdline)
    yield f"memory = {options.memory}"
    yield f"until = {options.until.value}"
    yield f"epoch = {options.epoch}"
    yield from (f"option.{name} = {value}" for name, value in sorted(options.options.items()))
    yield f"outcome = {record.outcome.reason.value}"


def _milestones(record: Record) -> Iterator[str]:
    return (point.name.value for point in record.milestones)


def _told(record: Record) -> Iterator[str]:
    facts, maps = inputs(record)
    yield from (f"{fact} = {value}" for fact, value in facts.items() if not moved_by_kaslr(fact))
    for whole in sorted(maps, key=by_path):
        if whole not in MOVED_MAPS:
            yield from (f"{piece(whole, area.start, area.end)} = {area.label}" for area in maps[whole])


def _calls(record: Record) -> Iterator[str]:
    return (call_fact(call).rest for call in record.firmware_calls)


def _hardware(record: Record) -> Iterator[str]:
    return iter(sorted({hardware_fact(touch).rest for touch in record.ledger}))


def _log(record: Record) -> Iterator[str]:
    for section in sections(record.console):
        if section.kind is Kind.LOG:
            yield from map(_masked, section.lines)


def _masked(line: str) -> str:
    for pattern, replacement in (*_MASKS, (_BUILD, r"\1")):
        line = pattern.sub(replacement, line)
    return line


def _userspace(record: Record) -> Iterator[str]:
    for section in sections(record.console):
        if section.kind is Kind.USERSPACE and section.name != WARNINGS:
            yield from (_masked(f"{section.name}: {line}") for line in section.lines)


def _code(record: Record) -> Iterator[str]:
    names = sorted({function.name for function in record.coverage.functions})
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    yield f"{len(names)} functions, sha256 {digest[:16]}"
    yield from names


_MAKERS: dict[str, Callable[[Record], Iterator[str]]] = {
    "run": _run,
    "milestones": _milestones,
    "told": _told,
    "calls": _calls,
    "hardware": _hardware,
    "log": _log,
    "userspace": _userspace,
    "code": _code,
}
