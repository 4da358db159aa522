"""What a provider reads back: the same that went in, of the bytes in memory and of nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

from efishim.errors import EfishimError, ProviderError
from efishim.lab.abi import interface as rules
from efishim.lab.abi.ranges import Range, holds, merged, named
from efishim.plugin_guard import PluginError
from efishim.provider import (
    BootInformation,
    Entry,
    Handover,
    MachineFirmware,
    MemoryKind,
    Requirement,
    Violation,
    machine_firmware,
)
from efishim.testing.checks_memory import produced
from efishim.testing.stage import CountedRam, OutOfWork, Stage, Wish, ram_of, set_stage
from efishim.testing.subject import Subject, finding

DAMAGES = 60
"""How many damaged copies of a structure `read_back` is shown."""
LEADS_OUTSIDE = "there is no memory at"
"""What Ram says of an address that leads outside."""
FIELDS = ("command_line", "modules", "memory_map", "rsdp")


def symmetry(subject: Subject, entry: Entry, wish: Wish | None = None) -> Iterator[Violation]:
    """What comes back is what went in, or provenance says why not."""

    def look(stage: Stage, handover: Handover) -> Iterator[Violation]:
        if handover.address is not None:
            yield from _same(stage, subject.guarded.read_back(stage.memory, handover))

    yield from produced(subject, entry, look, wish)


def _same(stage: Stage, told: BootInformation) -> Iterator[Violation]:
    explained = {one.field for one in told.provenance}
    request = stage.request
    facts = request.facts
    wanted = [(one.start, one.size) for one in request.modules]
    modules = [(one.start, one.size) for one in told.modules]
    checks: tuple[tuple[str, Requirement, bool, str], ...] = (
        (
            "command_line",
            rules.TOLD_LINE,
            told.command_line == request.command_line,
            f"it is {_short(told.command_line)} and not {_short(request.command_line)}",
        ),
        ("modules", rules.TOLD_MODULES, modules == wanted, f"there are {modules} and not {wanted}"),
        ("rsdp", rules.TOLD_TABLES, told.rsdp == facts.rsdp, f"RSDP is {_at(told.rsdp)} and not {_at(facts.rsdp)}"),
        ("smbios", rules.TOLD_TABLES, told.smbios == facts.smbios, f"SMBIOS is {_at(told.smbios)} and not {_at(facts.smbios)}"),
    )
    for field, rule, same, words in checks:
        if not same and field not in explained:
            yield finding(rule, words)
    there = ram_of(facts)
    said = [(one.start, one.end) for one in told.memory_map if one.kind is MemoryKind.RAM]
    for one in merged(said):
        if not holds(there, one):
            yield finding(rules.TOLD_RAM, f"{named(one)} is not all RAM of the machine")
    missing = [one for one in merged(there) if not holds(said, one)]
    # Where EFI is alive, the guest asks it.
    asks = machine_firmware(stage.subject.guarded, stage.entry.name, request.options) is MachineFirmware.EFI
    if missing and not asks and "memory_map" not in explained:
        yield finding(rules.TOLD_MAP, f"{named(missing[0])} is not told")


def _short(text: bytes) -> str:
    return repr(text) if len(text) <= 60 else f"{text[:60]!r}... of {len(text)} bytes"


def _at(address: int | None) -> str:
    return "none" if address is None else f"{address:#x}"


def _written(stage: Stage) -> list[int]:
    """Addresses of bytes that the provider changed: it gets the same memory again and writes to that."""
    before = set_stage(stage.subject, stage.entry).memory.contents()
    after = stage.memory.contents()
    blank = bytes(0x1000)
    return [
        page + offset
        for page, held in after.items()
        if held != before.get(page, blank)
        for offset, byte in enumerate(held)
        if byte != before.get(page, blank)[offset]
    ]


def _damaged(stage: Stage, memory: CountedRam, handover: Handover, at: int) -> tuple[BootInformation | None, Violation | None]:
    """What is read of a memory with other bytes at an address: None where it is refused; and what is wrong with that."""
    try:
        return stage.subject.guarded.read_back(memory, handover), None
    except PluginError as error:
        cause = error.__cause__
        if isinstance(cause, OutOfWork):
            return None, finding(rules.WORK, f"with other bytes at {at:#x} {cause}")
        if isinstance(cause, IndexError) and LEADS_OUTSIDE in str(cause):
            return None, None  # the memory's own
        return None, finding(rules.DAMAGE, f"with other bytes at {at:#x} {error.sentence}")
    except ProviderError:
        return None, None


def changed_byte(subject: Subject, entry: Entry) -> Iterator[Violation]:
    """For all that came back there is a byte in guest memory on which it depends."""

    def look(stage: Stage, handover: Handover) -> Iterator[Violation]:
        if handover.address is None:
            return
        told = stage.subject.guarded.read_back(stage.memory, handover)
        explained = {one.field for one in told.provenance}
        wanted = {field for field in FIELDS if getattr(told, field) and field not in explained}
        for address in _written(stage):
            memory = stage.memory.copy()
            memory.write(address, bytes([memory.read(address, 1)[0] ^ 0x10]))
            other, problem = _damaged(stage, memory, handover, address)
            if problem is not None:
                yield problem
                return
            wanted -= {field for field in wanted if other is not None and getattr(other, field) != getattr(told, field)}
            if not wanted:
                return
        for field in sorted(wanted):
            yield finding(rules.CHANGED, f"{field} is the same whatever byte of the structure changes")

    yield from produced(subject, entry, look)


def damage(subject: Subject, entry: Entry) -> Iterator[Violation]:
    """A structure in guest memory is whatever the guest or a bug made of it."""

    def look(stage: Stage, handover: Handover) -> Iterator[Violation]:
        if handover.address is None:
            return
        rng, written = random.Random(0), _written(stage)
        for number in range(DAMAGES if written else 0):
            memory, at = stage.memory.copy(), rng.choice(written)
            value = (0xFF, 0x7F, 0x00)[number % 3] if number % 2 else rng.randrange(256)
            memory.write(at, bytes([value]) * min(1 + number % 8, memory.size - at))
            problem = _damaged(stage, memory, handover, at)[1]
            if problem is not None:
                yield problem
                return

    yield from produced(subject, entry, look)


LINES = (b"", b"\xff" * 100, b"%n %s {} \n\r\t", b"a\0b", b"x" * 2047, b"x" * 65_536)
VALUES = ("", "-1", "0x", "\0", "é", "9" * 40, "x" * 4096)


def hostile(subject: Subject, entry: Entry) -> Iterator[Violation]:
    """Arbitrary command lines, modules and option values are accepted, or refused with a sentence."""
    wishes = {f"the command line {_short(line)}": Wish(command_line=line) for line in LINES}
    wishes |= {"no module": Wish(modules=()), "200 modules": Wish(modules=(1,) * 200)}
    for one in subject.provider.options:
        wishes |= {f"the option {one.name}={value[:20]!r}": Wish(options={one.name: value}) for value in VALUES}
    for what, wish in wishes.items():
        stage = set_stage(subject, entry, wish)
        yield from _with(what, partial(_there_and_back, stage, line=not wish.options))


def _with(what: str, action: Callable[[], Iterator[Violation]]) -> Iterator[Violation]:
    try:
        yield from action()
    except PluginError as error:
        if isinstance(error.__cause__, OutOfWork):
            yield finding(rules.WORK, f"with {what}: {error.__cause__}")
        else:
            yield finding(rules.HOSTILE, f"with {what}: {error.sentence}")
    except OutOfWork as error:
        yield finding(rules.WORK, f"with {what}: {error}")


def _there_and_back(stage: Stage, *, line: bool) -> Iterator[Violation]:
    """Produced and read, or refused. With `line` the command line is the same again; an option may change it."""
    try:
        handover = stage.produce()
        if handover.address is None:
            return
        told = stage.subject.guarded.read_back(stage.memory, handover)
    except PluginError:
        raise
    except EfishimError:
        return
    explained = {one.field for one in told.provenance}
    wanted = stage.request.command_line.partition(b"\0")[0]
    if line and told.command_line not in (wanted, stage.request.command_line) and "command_line" not in explained:
        yield finding(rules.HOSTILE, f"the command line {_short(wanted)} comes back as {_short(told.command_line)}")


def ranges_of(told: BootInformation) -> list[Range]:
    """RAM that is told."""
    return merged((one.start, one.end) for one in told.memory_map if one.kind is MemoryKind.RAM)
