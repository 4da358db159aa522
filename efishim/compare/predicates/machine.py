"""The machine that a run's options choose, built again: devices, CPUID, ACPI tables. What differs between two platforms is held
against it, and not against a list of what platforms look like.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from efishim.compare.areas import spans
from efishim.compare.evidence import Evidence, Seen
from efishim.compare.facts import Fact, Kind, Stage
from efishim.compare.inputs import MACHINE_MEMORY, machine_facts
from efishim.compare.predicates import memory
from efishim.compare.predicates.pointers import LOWEST, number
from efishim.errors import EfishimError
from efishim.lab.record import MachineView, Record
from efishim.lab.snapshot.machine_view import machine_view
from efishim.machine.machine import Machine
from efishim.machine.memory import PhysicalMemory
from efishim.platform.definition import PlatformOptions
from efishim.plugins import Registry, load_plugins
from efishim.wire.acpi import Fadt, Rsdp, SdtHeader, TableHead

KEPT = 64
"""Machines that are remembered; a comparison has a few."""

MADT_HEAD = 44

LARGEST = 64 << 30
"""RAM of a guest, bytes; a record that says more is none of a run."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A machine as its platform builds it."""

    view: MachineView
    present: frozenset[str]
    """Devices by the names that the ledger has for them."""
    tables: Mapping[str, bytes]
    """ACPI tables by signature; the RSDP and the XSDT are among them."""
    smbios: bool

    @property
    def fadt(self) -> Fadt | None:
        """The FADT, cut or filled to the size of its newest form."""
        data = self.tables.get("FACP")
        return None if data is None else _fadt(data)

    @property
    def madt(self) -> frozenset[int]:
        """Types of the structures in the MADT (ACPI 6.5 section 5.2.12)."""
        data, found, at = self.tables.get("APIC", b""), set(), MADT_HEAD
        while at + 2 <= len(data) and data[at + 1] >= 2:
            found.add(data[at])
            at += data[at + 1]
        return frozenset(found)

    def leaf(self, number: int) -> tuple[int, int, int, int] | None:
        """EAX, EBX, ECX and EDX of a CPUID leaf without subleaves."""
        found = (one for one in self.view.cpuid if one.leaf == number and one.subleaf is None)
        return next(((int(one.eax), int(one.ebx), int(one.ecx), int(one.edx)) for one in found), None)


def _fadt(data: bytes) -> Fadt:
    return Fadt.parse(data[: Fadt.SIZE].ljust(Fadt.SIZE, b"\0"))


def chosen(record: Record) -> Chosen | None:
    """The machine of a record's platform, features, memory and clock. None where the record has none, or where the platform is
    not installed or cannot be built so.
    """
    machine, options = record.machine, record.options
    if machine is None or not 0 < options.memory <= LARGEST:
        return None
    return _built(record.route.platform, options.memory, options.epoch, tuple(sorted(machine.features.items())))


@lru_cache(maxsize=1)
def _registry() -> Registry:
    return load_plugins()


@lru_cache(maxsize=KEPT)
def _built(platform: str, ram: int, epoch: int, features: tuple[tuple[str, int], ...]) -> Chosen | None:
    board = Machine()
    try:
        values = {name: str(value) for name, value in features}
        facts = _registry().platform(platform).build(board, PlatformOptions(ram, epoch, values))
    except (EfishimError, ValueError, OverflowError, OSError, MemoryError):
        return None
    tables = dict(_tables(board.memory, facts.rsdp)) if facts.rsdp else {}
    present = frozenset(one.name for one in facts.resources if one.present)
    return Chosen(machine_view(board, facts), present, tables, facts.smbios is not None)


def _tables(ram: PhysicalMemory, rsdp: int) -> Iterator[tuple[str, bytes]]:
    """The RSDP, and the tables that it leads to by its XSDT, or by its RSDT where it has no other (ACPI 6.5 section 5.2.5)."""
    if ram.find(rsdp, Rsdp.SIZE) is None:
        return
    pointer = Rsdp.parse(ram.read(rsdp, Rsdp.SIZE))
    yield "RSDP", bytes(pointer.build())
    xsdt = pointer.xsdt_address if pointer.revision >= 2 else 0
    width = 8 if xsdt else 4
    root = _table(ram, xsdt or pointer.rsdt_address)
    yield from _named(root)
    for at in range(SdtHeader.SIZE, len(root) - width + 1, width):
        data = _table(ram, int.from_bytes(root[at : at + width], "little"))
        yield from _named(data)
        if data[:4] == b"FACP":
            fadt = _fadt(data)
            for address in (fadt.x_dsdt or fadt.dsdt, fadt.x_firmware_ctrl or fadt.firmware_ctrl):
                yield from _named(_table(ram, address))


def _table(ram: PhysicalMemory, address: int) -> bytes:
    if ram.find(address, TableHead.SIZE) is None:
        return b""
    size = TableHead.parse(ram.read(address, TableHead.SIZE)).length
    return bytes(ram.read(address, size)) if size <= memory.MIB and ram.find(address, size) is not None else b""


def _named(data: bytes) -> Iterator[tuple[str, bytes]]:
    if data:
        yield data[:4].decode("ascii", "replace"), data


def machine_as_chosen(evidence: Evidence) -> bool:
    """What each run's machine is, or is not, follows from its platform and features; and a feature has the platform's value, or
    the one that the user gave.
    """
    return all(_as_chosen(evidence.fact, value, seen) for value, seen in evidence.sides())


def _as_chosen(fact: Fact, value: str, seen: Seen) -> bool:
    machine = chosen(seen.record)
    if machine is None:
        return False
    if fact.within(Stage.MACHINE, "feature"):
        return value == _feature(fact.field[-1], seen.record)
    facts, areas = machine_facts(machine.view)
    piece = memory.piece_of(fact)
    if piece is None:
        return value == facts.get(fact, "")
    start, end = piece
    shown = seen.facts.maps.get(MACHINE_MEMORY, ())
    return all(a == b for low, high, a, b in spans(areas, shown) if low < end and high > start)


def _feature(name: str, record: Record) -> str:
    given = record.options.options.get(f"platform.{name}")
    platform = _registry().platform(record.route.platform)
    default = next((one.default for one in platform.options if one.name == name), "")
    return str(default) if given is None else str(given)


# ---- ACPI

_HEADER = re.compile(
    r"ACPI: (?P<name>[A-Z0-9_]{4}) 0x(?P<address>[0-9A-F]{16}) (?P<size>[0-9A-F]{6})"
    r"(?: \(v(?P<revision>\d\d) (?P<oem>.{6})(?: (?P<table>.{8}) (?P<oem_revision>[0-9A-F]{8}) (?P<creator>.{4})"
    r" (?P<creator_revision>[0-9A-F]{8}))?\))?"
)
_RESERVED = re.compile(r"ACPI: Reserving (?P<name>\S{4}) table memory at \[mem 0x(?P<start>[0-9a-f]+)-0x(?P<end>[0-9a-f]+)\]")
_LISTED = re.compile(r"(?P<name>[A-Z0-9_]{4}) size=(?P<size>\d{1,9})")


def acpi_as_chosen(evidence: Evidence) -> bool:
    """A table that is printed, reserved or listed is one of that machine's, with its size and its header, in memory. The
    tables of a real machine are not known.
    """
    for value, seen in evidence.told():
        machine = chosen(seen.record)
        if seen.record.machine is None:
            continue
        text = ".".join(evidence.fact.field) if evidence.fact.kind is Kind.USERSPACE else value
        shown = [*_HEADER.finditer(text), *_RESERVED.finditer(text), *_LISTED.finditer(text)]
        if machine is None or not shown or not all(_is_table(one, machine, seen) for one in shown):
            return False
    return True


def _is_table(shown: re.Match[str], machine: Chosen, seen: Seen) -> bool:
    data = machine.tables.get(shown["name"])
    if data is None:
        return False
    fields = shown.groupdict()
    where = fields.get("start", fields.get("address"))
    if where is not None and not _is_place(int(where, 16), len(data), seen):
        return False
    if "start" in fields:
        return int(shown["end"], 16) + 1 - int(shown["start"], 16) == len(data)
    if "oem" not in fields:
        return int(shown["size"]) == len(data)
    if int(shown["size"], 16) != len(data):
        return False
    if fields["table"] is None:
        return fields["oem"] is None or shown["oem"].rstrip() == data[9:15].decode("ascii", "replace").rstrip("\0 ")
    header = SdtHeader.parse(data[: SdtHeader.SIZE])
    texts = ((shown["oem"], header.oem_id), (shown["table"], header.oem_table_id), (shown["creator"], header.creator_id))
    numbers = ((shown["oem_revision"], header.oem_revision), (shown["creator_revision"], header.creator_revision))
    return (
        int(shown["revision"]) == header.revision
        and all(text.rstrip() == told.decode("ascii", "replace").rstrip("\0 ") for text, told in texts)
        and all(int(text, 16) == told for text, told in numbers)
    )


def _is_place(start: int, size: int, seen: Seen) -> bool:
    return start >= LOWEST and memory.inside(start, start + size, memory.known(seen))


def acpi_tables_differ(evidence: Evidence) -> bool:
    """The two machines have other tables."""
    machines = [chosen(seen.record) for _, seen in evidence.sides()]
    return None not in machines and len({one.view.acpi for one in machines if one is not None}) == len(machines)


def register_of_the_fadt(evidence: Evidence) -> bool:
    """A port that one machine's FADT names as a register of its own, and the other's does not (ACPI 6.5 section 5.2.9)."""
    port = number(evidence.fact.field[-1].rpartition(" ")[2])
    sides = [_names_port(port, seen) for _, seen in evidence.sides()]
    return None not in sides and sides == [bool(value) for value, _ in evidence.sides()]


def _names_port(port: int | None, seen: Seen) -> bool | None:
    machine = chosen(seen.record)
    fadt = machine.fadt if machine is not None else None
    if fadt is None or port is None:
        return None
    blocks = (
        *((fadt.pm1a_evt_blk, fadt.pm1_evt_len), (fadt.pm1a_cnt_blk, fadt.pm1_cnt_len)),
        *((fadt.pm_tmr_blk, fadt.pm_tmr_len), (fadt.gpe0_blk, fadt.gpe0_blk_len)),
    )
    return any(start and start <= port < start + size for start, size in blocks)


# ---- CPUID


def leaf_within_maximum(evidence: Evidence) -> bool:
    """A CPUID leaf that one processor has, and that lies beyond the last one of the other (SDM volume 2, CPUID)."""
    leaf = number(evidence.fact.field[-1].rpartition(" ")[2].partition(".")[0])
    if leaf is None:
        return False
    answers = []
    for _, seen in evidence.sides():
        machine = chosen(seen.record)
        last = machine.leaf(leaf & 0xC000_0000) if machine is not None else None
        if machine is None:
            return False
        answers.append(last is not None and leaf <= last[0])
    return answers == [bool(value) for value, _ in evidence.sides()]


# ---- what the kernel finds


def names_its_platform(evidence: Evidence) -> bool:
    """The SMBIOS of these machines names the platform."""
    return all(f" efishim {seen.record.route.platform}, " in evidence.fact.subject for _, seen in evidence.told())


_CLOCKS: Mapping[str, str] = {"kvm-clock": "KVM", "xen": "Xen", "acpi_pm": "ACPI", "hpet": "HPET", "pit": "PIT"}
_PROCESSORS = frozenset({"tsc", "tsc-early", "jiffies", "refined-jiffies"})
_CLOCK = re.compile(r"clocksource: (?:Switched to clocksource )?(?P<name>[\w-]+)(?::.*)?", re.DOTALL)


def clocks_as_chosen(evidence: Evidence) -> bool:
    """Each clock that is named is one of that machine: of its processor, or of a device that is there."""
    fact = evidence.fact
    match = _CLOCK.fullmatch(fact.subject) if fact.kind is Kind.LOG else None
    names = [match["name"]] if match is not None else ".".join(fact.field).split() if fact.kind is Kind.USERSPACE else []
    for _, seen in evidence.told():
        machine = chosen(seen.record)
        if machine is None or not names or not all(n in _PROCESSORS or _CLOCKS.get(n) in machine.present for n in names):
            return False
    return True


_FOUND = re.compile(r"pnp: PnP ACPI: found (?P<count>\d{1,4}) devices")
_NUMBERED: tuple[bytes, ...] = (b"\x41\xd0\x05\x01", b"\x41\xd0\x0b\x00")
"""PNP0501, a serial port, and PNP0B00, the clock, as AML has their EISA IDs."""


def devices_as_chosen(evidence: Evidence) -> bool:
    """As many devices of the ISA bus as the DSDT names, as far as it is known."""
    match = _FOUND.fullmatch(evidence.fact.subject)
    for _, seen in evidence.told():
        if seen.record.machine is None:
            continue
        machine = chosen(seen.record)
        if match is None or machine is None:
            return False
        named = [one in machine.tables.get("DSDT", b"") for one in _NUMBERED]
        if int(match["count"]) not in (sum(named), named[0]):  # newer kernels do not count the clock
            return False
    return True
