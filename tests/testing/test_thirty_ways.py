"""A provider that is broken in thirty ways: the first that the conformance kit says names the rule that is broken."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from efishim.errors import ProviderError
from efishim.lab.abi import all_rules, interface
from efishim.provider import BootInformation, BootRequest, Entry, Handover, Structure
from efishim.testing import Subject, conformance
from efishim.testing.memory import MIB
from efishim.testing.stage import COMMAND_LINE
from tests.support.others import BrokenGrub, BrokenHvmlite
from tests.support.others import provider as broken
from tests.support.tampering import registers, segment, without, writes

PVH, LINUX64, LINUX32 = ("pvh", BrokenHvmlite), ("linux64", BrokenGrub), ("linux32", BrokenGrub)


@dataclass(frozen=True)
class Way:
    """One way to be broken, and the rule that says so."""

    what: str
    rule: str
    route: tuple[str, type] = PVH
    entering: Any = None
    after: Any = None
    members: dict[str, Any] = dataclasses.field(default_factory=dict)


def overwrites(what: str) -> Callable[[Handover, BootRequest, Any], Handover]:
    """Something lies on top of the kernel, or of a module."""

    def change(handover: Handover, request: BootRequest, memory: Any) -> Handover:
        assert request.loaded is not None
        memory.write(request.loaded.base + 0x300 if what == "kernel" else request.modules[0].start, b"overwritten")
        return handover

    return change


def start_info_at(address: int) -> Callable[[Handover, BootRequest, Any], Handover]:
    """hvm_start_info is moved; what it points to stays."""

    def change(handover: Handover, _request: BootRequest, memory: Any) -> Handover:
        assert handover.address is not None
        memory.write(address, memory.read(handover.address, 56))
        return dataclasses.replace(handover, address=address)

    return change


def on_a_module(handover: Handover, request: BootRequest, memory: Any) -> Handover:
    return start_info_at(request.modules[1].start)(handover, request, memory)


def adds_ram(handover: Handover, request: BootRequest, memory: Any) -> Handover:
    """The last range of the map is RAM, and 1 MiB longer."""
    assert handover.address is not None
    at, count = struct.unpack("<QI", memory.read(handover.address + 40, 12))
    last = at + (count - 1) * 24
    (size,) = struct.unpack("<Q", memory.read(last + 8, 8))
    memory.write(last + 8, struct.pack("<QI", size + MIB, 1))
    return handover


def counts() -> Callable[..., Handover]:
    number = iter(range(1000))

    def change(handover: Handover, _request: BootRequest, memory: Any) -> Handover:
        return dataclasses.replace(handover, notes=(f"boot {next(number)}",))

    return change


SCRATCH_AT = 0x1000
"""The lowest page that is free, where efishim puts page tables."""


def untaken(handover: Handover, _request: BootRequest, memory: Any) -> Handover:
    """It writes to a place that it has not taken from the arena."""
    memory.write(SCRATCH_AT, b"a table of its own")
    return handover


def scratch(self: Any, memory: Any, handover: Handover) -> tuple[Structure, ...]:
    """What it wrote there is one of its structures."""
    return (*BrokenGrub.structures(self, memory, handover), Structure("a table", SCRATCH_AT, 18))


def line_of(handover: Handover, memory: Any) -> int:
    """Where the command line is."""
    (at,) = struct.unpack("<Q", memory.read((handover.address or 0) + 24, 8))
    return int(at)


def other_line(handover: Handover, _request: BootRequest, memory: Any) -> Handover:
    """One letter is another."""
    memory.write(line_of(handover, memory), b"K")
    return handover


def halts(handover: Handover, request: BootRequest, memory: Any) -> Handover:
    """The probe kernel takes this for a wish to end in HLT."""
    assert len(request.command_line) >= 11
    memory.write(line_of(handover, memory), b"probe=halt ")
    return handover


def reads(self: Any, memory: Any, handover: Handover) -> BootInformation:
    """As the provider does."""
    return BrokenHvmlite.read_back(self, memory, handover)


def writes_all(self: Any, request: BootRequest, memory: Any, arena: Any) -> Handover:
    """As the provider does."""
    return BrokenHvmlite.produce(self, request, memory, arena)


def key_error(*_: Any) -> Any:
    facts: dict[str, int] = {}
    return facts["acpi"]


def told(**changes: Any) -> Callable[..., BootInformation]:
    """Reads back as it should, but for some fields."""

    def read_back(self: Any, memory: Any, handover: Handover) -> BootInformation:
        return dataclasses.replace(reads(self, memory, handover), **changes)

    return read_back


def remembers() -> dict[str, Any]:
    """read_back that gives what produce was asked for."""

    def produce(self: Any, request: BootRequest, memory: Any, arena: Any) -> Handover:
        self.kept = BootInformation(request.facts.memory_map, request.command_line, request.modules, request.facts.rsdp)
        self.kept = dataclasses.replace(self.kept, smbios=request.facts.smbios)
        return writes_all(self, request, memory, arena)

    return {"produce": produce, "read_back": lambda self, memory, handover: self.kept}


def raises_for_damage(self: Any, memory: Any, handover: Handover) -> BootInformation:
    """Leaves it to struct to find out."""
    try:
        return reads(self, memory, handover)
    except ProviderError as error:
        raise struct.error("unpack requires more bytes") from error


def loops_for_damage(self: Any, memory: Any, handover: Handover) -> BootInformation:
    """Waits until the magic is there."""
    while memory.read(handover.address, 4) != b"\x78\xc5\x6e\x33":
        pass
    return reads(self, memory, handover)


def no_smbios(self: Any, memory: Any, handover: Handover) -> BootInformation:
    """Nothing about what is missing."""
    return dataclasses.replace(reads(self, memory, handover), provenance=())


def decodes(self: Any, request: BootRequest, memory: Any, arena: Any) -> Handover:
    """Takes every command line for ASCII."""
    request.command_line.decode("ascii")
    return writes_all(self, request, memory, arena)


SCRATCH, ASKED = {"structures": scratch}, {"read_back": told(command_line=COMMAND_LINE)}
WAYS = [
    Way("two lines of summary", "provider/description", members={"summary": "two\nlines"}),
    Way("an entry without a processor state", "provider/entries", members={"entries": (Entry("efi", "", through_shim=False),)}),
    Way("None from produce", "provider/types", after=lambda *_: None),
    Way("KeyError in produce", "provider/types", after=key_error),
    Way("refuses a plain request", "provider/produces", after=lambda *_: without(ProviderError("no"))),
    Way("counts its boots", "provider/determinism", after=counts()),
    Way("a structure where no RAM is", "provider/structure-in-ram", after=start_info_at(0xA_0000)),
    Way("a structure behind the end of memory", "provider/structure-in-ram", after=start_info_at(1 << 40)),
    Way("a structure on top of a module", "provider/pieces-apart", after=on_a_module),
    Way("a module is overwritten", "provider/modules-intact", after=overwrites("module")),
    Way("the kernel is overwritten", "image/intact", after=overwrites("kernel")),
    Way("more RAM than there is", "provider/told-ram", after=adds_ram),
    Way("less RAM than there is", "provider/memory-map", members={"read_back": told(memory_map=())}),
    Way("another command line", "provider/command-line", members={"read_back": told(command_line=b"other")}),
    Way("no modules", "provider/modules", members={"read_back": told(modules=())}),
    Way("no word about SMBIOS", "provider/tables", members={"read_back": no_smbios}),
    Way("read_back of what produce was given", "provider/changed-byte", members=remembers()),
    Way("struct.error for damage", "provider/damage", members={"read_back": raises_for_damage}),
    Way("no end for damage", "provider/work", members={"read_back": loops_for_damage}),
    Way("UnicodeDecodeError for a command line", "provider/hostile", members={"produce": decodes}),
    Way(
        "a structure where efishim puts page tables",
        "provider/structure-intact",
        LINUX64,
        after=untaken,
        members=SCRATCH,
    ),
    Way(
        "read_back says what was asked for",
        "provider/guest",
        after=other_line,
        members=ASKED,
    ),
    Way("the kernel is told to halt", "provider/probe", after=halts, members=ASKED),
    Way("CR0.WP is set", "pvh/cr0", entering=registers(cr0=0x1_0011)),
    Way("the code segment ends at 1 MiB", "pvh/cs", entering=segment("cs", limit=0xF_FFFF)),
    Way("another first instruction", "pvh/entry-point", entering=lambda state: dataclasses.replace(state, rip=state.rip + 1)),
    Way("EBX is lost", "pvh/start-info", entering=registers(rbx=0)),
    Way("EBX is wrong", "pvh/magic", entering=registers(rbx=0x8000)),
    Way("PAE is on", "pvh/cr4", entering=registers(cr4=0x20)),
    Way("the TSS has another limit", "pvh/tr", entering=segment("tr", limit=0xFFFF)),
    Way("interrupts are on", "pvh/eflags", entering=registers(eflags=0x202)),
    Way("every flag is set", "pvh/flags", after=writes(8, b"\xff\xff\xff\xff")),
    Way("CS is 8", "linux64/selectors", LINUX64, entering=segment("cs", selector=8)),
    Way("RSI is lost", "boot_params/memory", LINUX64, entering=registers(rsi=0x7000_0000)),
    Way("no e820", "boot_params/e820", LINUX64, after=writes(0x1E8, b"\0")),
    Way("ramdisk_size is 0", "ramdisk/fields", LINUX64, after=writes(0x21C, bytes(4))),
    Way("no command line", "boot_params/command-line", LINUX64, after=writes(0x228, bytes(4))),
    Way("no loader", "boot_params/loader", LINUX64, after=writes(0x210, b"\0")),
    Way("EBX is not zero", "linux32/zero", LINUX32, entering=registers(rbx=1)),
]


def subject(way: Way) -> Subject:
    """The broken provider, with its one entry."""
    entry, kind = way.route
    only = tuple(one for one in kind().entries if one.name == entry)
    made = broken(type("Broken", (kind,), {"entries": only, **way.members}), after=way.after, entering=way.entering)
    return Subject(made)


def first(way: Way) -> Iterator[Any]:
    """What the kit finds."""
    return conformance(subject(way))


def test_there_are_thirty() -> None:
    assert len(WAYS) >= 30
    assert len({way.what for way in WAYS}) == len(WAYS)
    rules = {way.rule for way in WAYS}
    assert rules <= set(all_rules())
    # The other two are about lists of a suite, and about kernels (test_suite.py).
    assert {rule.id for rule in interface.REQUIREMENTS} - rules == {"provider/deviation", "provider/userspace"}


SEEN_BY_A_RUN = 12
"""The first of them need no machine."""


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=[] if n < SEEN_BY_A_RUN else pytest.mark.slow, id=way.what) for n, way in enumerate(WAYS)],
)
def test_the_first_finding_names_the_rule(way: Way) -> None:
    found = next(first(way))
    assert found.rule == way.rule, found
    assert found.reference
    assert found.found


@pytest.mark.slow
@pytest.mark.unmeasured
@pytest.mark.parametrize("route", [PVH, LINUX64, LINUX32], ids=lambda route: route[0])
def test_without_a_fault_nothing_is_found(route: tuple[str, type]) -> None:
    assert list(first(Way("whole", "", route))) == []
