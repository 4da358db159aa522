"""One run of the image at an entry, with everything that the provider did recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from efishim.errors import EfishimError, ImageError, RouteError
from efishim.lab.abi import interface as rules
from efishim.lab.abi.ranges import merged
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Record
from efishim.lab.run import run_plan
from efishim.machine.cpu import Board
from efishim.plugin_guard import PluginError
from efishim.provider import BootInformation, BootRequest, Entry, GuestMemory, Handover, Violation, native_structures
from efishim.testing.checks_reading import ranges_of
from efishim.testing.stage import COMMAND_LINE, content
from efishim.testing.subject import Subject, finding

RAMDISK = content(0x1234, 0)
MOST_INSTRUCTIONS = 10_000_000
"""The probe kernel runs for less than a million."""
END = "probe: end"
STRUCTURES = ("start_info", "boot_params", "multiboot", "multiboot2")
"""Of which the probe kernel reports the command line."""


class Witness:
    """The provider, and what it wrote into the memory of a machine."""

    name = "efishim-testing"
    summary = "looks whether structure and modules are still there at the entry"

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._inner = subject.provider
        self.told: BootInformation | None = None
        self.parts: list[tuple[str, int, bytes]] = []
        self.modules: list[tuple[int, bytes]] = []
        self.found: list[Violation] = []
        self._memory: GuestMemory | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Any) -> Handover:
        """As the provider does."""
        modules = [(one.start, memory.read(one.start, one.size)) for one in request.modules]
        handover = self._inner.produce(request, memory, arena)
        if handover.address is not None:
            self.told = self._subject.guarded.read_back(memory, handover)
        pieces = native_structures(self._inner, memory, handover)
        self.parts = [(one.name, one.address, memory.read(one.address, one.size)) for one in pieces]
        self.modules, self._memory = modules, memory
        return handover

    def start(self, board: Board) -> None:
        """Everything is in place, and the guest has not run."""
        memory = self._memory
        if memory is None:
            return
        for name, address, before in self.parts:
            if memory.read(address, len(before)) != before:
                self.found.append(finding(rules.STRUCTURE_INTACT, f"{name} at {address:#x} is not"))
        for number, (address, before) in enumerate(self.modules):
            if memory.read(address, len(before)) != before:
                self.found.append(finding(rules.MODULES_INTACT, f"module {number} at {address:#x} is not"))

    def finish(self) -> list[str]:
        """Nothing for the record."""
        return []


class _Provider:
    """The witness as a provider: optional members are there when the provider has them."""

    def __init__(self, witness: Witness, inner: Any) -> None:
        self._witness, self._inner = witness, inner
        self.name = inner.name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Any) -> Handover:
        """Watched."""
        return self._witness.produce(request, memory, arena)


@dataclass(frozen=True)
class Entered:
    """What came of a run."""

    record: Record | None
    told: BootInformation | None
    found: list[Violation] = field(default_factory=list)
    """Without those of the entry's specification, which are in the record."""

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Rules of the entry that do not hold."""
        found = self.record.abi if self.record is not None else None
        return tuple(
            Violation(one.rule, one.sentence.removesuffix(f"; {one.found}."), one.found, one.source) for one in found or []
        )


def enter(subject: Subject, entry: Entry, *, image: Blob | None = None, **words: Any) -> Entered:
    """Run it: the kit's image with a command line and a ramdisk, or `image` with `words` for the plan."""
    witness = Witness(subject)
    provider = cast(Any, _Provider(witness, subject.guarded))
    group = {f"{subject.provider.name}.{name}": value for name, value in subject.options.items()}
    group |= {f"platform.{name}": value for name, value in subject.platform_options.items()}
    plan = Plan(
        image=image or Blob.embedded("embedded:kit", subject.image),
        provider=subject.provider.name,
        entry=entry.name,
        platform=subject.platform,
        options=tuple(sorted(group.items())),
        **{
            "cmdline": COMMAND_LINE,
            "initrds": (Blob.embedded("embedded:ramdisk", RAMDISK),),
            "max_insns": MOST_INSTRUCTIONS,
            "timeout": 0.0,
            **words,
        },
    )
    try:
        record = run_plan(plan, registry=subject.registry(provider, witness))
    except (RouteError, ImageError):
        raise
    except PluginError as error:
        return Entered(None, witness.told, [finding(rules.TYPES, error.sentence)])
    except EfishimError as error:
        return Entered(None, witness.told, [finding(rules.PRODUCES, error.sentence)])
    return Entered(record, witness.told, witness.found)


def guest(run: Entered, entry: Entry) -> Iterator[Violation]:
    """Did the probe kernel run to its end, and find what read_back found?"""
    record, told = run.record, run.told
    if record is None:
        return
    if not record.outcome.met or END not in record.console:
        reason = f"{record.outcome.reason}{f' ({record.outcome.details})' if record.outcome.details else ''}"
        yield finding(rules.PROBE, f"it ends with {reason}")
        return
    if told is None:
        return
    said = dict(line.split("=", 1) for line in record.console.splitlines() if "=" in line)
    yield from (finding(rules.GUEST, words) for words in _otherwise(said, told, native=not entry.through_shim))


def userspace(record: Record) -> Iterator[Violation]:
    """Did a kernel power the machine off, and run a program before if it is Linux?"""
    passed = {one.name for one in record.milestones}
    linux = Milestone.START_KERNEL in passed
    if not record.outcome.met or (linux and Milestone.USERSPACE not in passed):
        reason = f"{record.outcome.reason} {record.outcome.details}".strip()
        yield finding(rules.USERSPACE, f"the run ends with {reason}")


def _otherwise(said: Mapping[str, str], told: BootInformation, *, native: bool) -> Iterator[str]:
    """What the probe kernel says, and read_back does not. What provenance explains is not compared."""
    explained = {one.field for one in told.provenance}
    asked = told.command_line.decode("ascii", "replace")
    lines = [f"{structure}.cmdline" for structure in STRUCTURES] if native else ["efi.loaded_image.load_options"]
    for key in lines:
        if key in said and not _ends_alike(said[key], asked):
            yield f"its command line is {said[key]!r}, and {asked!r} was read back"
    if not native:
        return
    ram = merged((row[0], row[0] + row[1]) for row in _rows(said, r"\w+\.(e820|memmap|mmap)\.\d+") if row[2] == 1)
    if "memory_map" not in explained and ram != ranges_of(told):
        yield f"RAM is {_shown(ram)}, and {_shown(ranges_of(told))} was read back"
    modules = [(row[0], row[0] + row[1]) for row in _rows(said, r"boot_params\.ramdisk|\w+\.module\.\d+")]
    read = [(one.start, one.start + one.size) for one in told.modules]
    if modules != read:
        yield f"modules are at {_shown(modules)}, and {_shown(read)} was read back"
    for key in ("start_info.rsdp_paddr", "boot_params.acpi_rsdp_addr"):
        if "rsdp" not in explained and key in said and int(said[key], 16) != (told.rsdp or 0):
            yield f"its RSDP is at {said[key]}, and {told.rsdp or 0:#x} was read back"


def _rows(said: Mapping[str, str], keys: str) -> list[tuple[int, int, int]]:
    """Address, size and type of the rows of a table, by whatever names the structure has."""
    found = []
    for key, text in said.items():
        if not re.fullmatch(keys, key):
            continue
        row = {name: int(value, 16) for name, value in re.findall(r"(\w+):(0x[0-9a-f]+)", text)}
        start = next(row[name] for name in ("addr", "base_addr", "paddr", "start") if name in row)
        size = row["end"] - start if "end" in row else next(row[name] for name in ("len", "length", "size") if name in row)
        found.append((start, size, row.get("type", 0)))
    return found


def _ends_alike(one: str, two: str) -> bool:
    """A loader may put words in front of the command line that its shim is not told of."""
    return one.endswith(two) or two.endswith(one)


def _shown(ranges: list[tuple[int, int]]) -> str:
    return ", ".join(f"[{start:#x}, {end:#x})" for start, end in ranges) or "none"
