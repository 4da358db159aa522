"""The record: one run as a JSON document, its schema, its canonical bytes, and reading it back.

Addresses, register values and arguments are hexadecimal strings ("0xffffffff81000000"), because JSON numbers lose bits
above 2**53 in many readers; counts and sizes are numbers. Nothing in a record comes from the host's clock except what
`WALL_CLOCK_FIELDS` names, so two runs of one plan give the same bytes after `without_wall_clock`.
"""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from efishim.errors import EfishimError
from efishim.lab.fitting import clipped, opened, shortened

SCHEMA = 1
"""Number of the record's schema. It grows when a field changes its meaning or goes away, not when one is added."""

WALL_CLOCK_FIELDS = ("milestones[].seconds", "outcome.seconds")
"""The only fields that two runs of the same plan may differ in: seconds of host time."""

RECORD_LIMIT = 64 << 20
"""Largest document (bytes) that is written or read. A full run to userspace stays under 3 MB."""

CONSOLE_LIMIT = 1 << 20
"""Most bytes of guest console that a record keeps; `console_dropped` counts the rest."""


class RecordError(EfishimError):
    """A file that should hold a record does not."""

    exit_status = 4


class Milestone(StrEnum):
    """The named points that every run is measured to, in the order in which a kernel passes them."""

    ENTRY = "entry"
    EXIT_BOOT_SERVICES = "exit_boot_services"
    STARTUP_64 = "startup_64"
    START_KERNEL = "start_kernel"
    INIT = "init"
    USERSPACE = "userspace"
    SHUTDOWN = "shutdown"


class ShimPlace(StrEnum):
    """Where the EFI firmware runs that stands between a native structure and an EFI entry."""

    HOST = "host"
    """Outside of the guest, which sees its tables and its answers only."""
    GUEST = "guest"
    """In the guest, as its code (firmware_stubs/efishim_firmware_stubs/guest_shim)."""


class Reason(StrEnum):
    """Why a run ended."""

    SHUTDOWN = "shutdown"
    MILESTONE = "milestone reached"
    RESET = "reset"
    EXIT = "image exited"
    TRIPLE_FAULT = "triple fault"
    ENDLESS_LOOP = "endless loop"
    HALTED = "guest halted for ever"
    FIRMWARE_EXCEPTION = "firmware exception"
    INSN_LIMIT = "insn limit"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    EMULATOR = "emulator failure"


UNREPEATABLE = frozenset({Reason.TIMEOUT, Reason.INTERRUPTED})
"""Ends that the host decided, not the guest: such a record cannot be had again byte for byte."""

Hex = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{1,32}$")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Seed = Annotated[int, msgspec.Meta(ge=0)]
"""Up to 2**64 - 1, which msgspec cannot check."""
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(max_length=256)]
Text = Annotated[str, msgspec.Meta(max_length=1 << 20)]


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all parts of a record have in common."""


class Tool(_Struct, frozen=True, kw_only=True):
    """What made the record."""

    name: Name
    version: Name
    unicorn: Name
    """Version of the CPU emulator; its translation decides instruction counts at the margin of a fault."""


class Image(_Struct, frozen=True, kw_only=True):
    """The file that was booted."""

    path: Text
    """As the user named it: a path, `deb:PACKAGE`, or `embedded:probe`."""
    sha256: Sha256
    size: Count
    format: Name
    version: Text = ""
    """The image's own version string, where it carries one."""
    entries: Annotated[list[Name], msgspec.Meta(max_length=64)]


class RouteName(_Struct, frozen=True, kw_only=True):
    """Who told the kernel what, through which door, on which machine."""

    provider: Name
    entry: Name
    platform: Name


class File(_Struct, frozen=True, kw_only=True):
    """A file that took part: an initial ramdisk or a System.map."""

    path: Text
    sha256: Sha256
    size: Count


class Options(_Struct, frozen=True, kw_only=True):
    """Everything else that decides the run."""

    cmdline: Text
    initrds: Annotated[list[File], msgspec.Meta(max_length=256)]
    memory: Count
    """Guest RAM in bytes."""
    until: Milestone
    max_insns: Count
    timeout: Seconds
    """Seconds of host time after which the run is given up; 0 is never."""
    seed: Seed
    epoch: Count
    """What the guest's clock shows at power-on, seconds since 1970-01-01T00:00:00Z."""
    options: dict[Name, Text]
    """`group.name` to value, as given with --option."""
    observers: bool
    system_map: File | None = None
    profile: File | msgspec.UnsetType = msgspec.UNSET
    """The firmware profile, when one was given."""
    without: dict[Name, Name] | msgspec.UnsetType = msgspec.UNSET
    """Single items of the firmware and what they answered, when any were given."""
    shim: ShimPlace | msgspec.UnsetType = msgspec.UNSET
    """Where the firmware runs, when that was said."""


class CodeRef(_Struct, frozen=True, kw_only=True):
    """A place in the guest's code."""

    address: Hex
    symbol: Text | None = None
    """`name+0x12` where the image's symbols allow it."""


class MilestonePoint(_Struct, frozen=True, kw_only=True):
    """A milestone that was passed."""

    name: Milestone
    insns: Count
    """Guest instructions executed since the entry."""
    seconds: Seconds
    """Host time since the run began."""
    virtual_ns: Count = 0
    """The guest's own clock, nanoseconds since power-on."""
    at: CodeRef | None = None


class Outcome(_Struct, frozen=True, kw_only=True):
    """How the run ended."""

    reached: Milestone | None
    """The last milestone that was passed."""
    goal: Milestone
    """What the run was asked to reach."""
    met: bool
    """Was the goal reached?"""
    reason: Reason
    details: Text = ""
    """One sentence for people."""
    at: CodeRef | None = None
    insns: Count = 0
    virtual_ns: Count = 0
    seconds: Seconds = 0.0
    reproducible: bool = True
    """False when the host ended the run (`timeout`, `interrupted`)."""


class Argument(_Struct, frozen=True, kw_only=True):
    """A decoded argument of a firmware call."""

    name: Name
    value: Text
    """Hexadecimal, or the specification's name for it (GUIDs, enumeration members, strings in quotes)."""


class FirmwareCall(_Struct, frozen=True, kw_only=True):
    """One call of the guest into firmware."""

    service: Name
    args: Annotated[list[Argument], msgspec.Meta(max_length=32)]
    status: Name
    """The specification's name of the status code, e.g. EFI_NOT_FOUND."""
    insns: Count
    results: Annotated[list[Argument], msgspec.Meta(max_length=32)] = []
    """What was written back through pointers."""
    caller: CodeRef | None = None
    repeats: Count = 1
    """How often the same caller made this call in a row and got the same answer, as in polling for a key."""


class AbiViolation(_Struct, frozen=True, kw_only=True):
    """Something at the entry that is not as its specification demands."""

    rule: Name
    sentence: Text
    source: Text
    """The specification, and where in it."""


class LedgerKind(StrEnum):
    """What kind of thing was touched."""

    PORT = "port"
    MMIO = "mmio"
    MSR = "msr"
    CPUID = "cpuid"
    HYPERCALL = "hypercall"
    INSTRUCTION = "instruction"


class LedgerEntry(_Struct, frozen=True, kw_only=True):
    """One thing of the machine that the guest touched."""

    kind: LedgerKind
    what: Name
    """The port or MMIO address, MSR number or CPUID leaf in hexadecimal, or an instruction's mnemonic."""
    device: Name = ""
    """Who answered; empty when nobody did."""
    group: Name = ""
    """As people speak of it: `serial`, `PIC`, `CMOS`, `PCI`, `APIC`, `hypervisor leaves` ..."""
    reads: Count = 0
    writes: Count = 0
    first_insns: Count = 0
    last_insns: Count = 0
    code: CodeRef | None = None
    """Who did it first."""


CODE_LIMIT = 8
"""Most functions that are named for one field."""


class FieldUse(_Struct, frozen=True, kw_only=True):
    """A field that was read or written."""

    name: Name
    reads: Count = 0
    writes: Count = 0
    first_insns: Count
    """Instructions executed when it was touched first."""
    first: CodeRef
    """Who touched it first."""
    functions: Annotated[list[Name], msgspec.Meta(max_length=CODE_LIMIT)] = []
    """Who touched it, in the order of the first time; the first few of them."""


class WholeUse(_Struct, frozen=True, kw_only=True):
    """A function that read or wrote every byte without regard to the fields: a copy, a checksum, an erasure."""

    part: Name = ""
    """A member of the structure with all below it; empty for the whole of it."""
    function: Name
    write: bool = False
    times: Count
    """How often, going by its rarest byte."""
    first_insns: Count
    first: CodeRef


class Consumption(_Struct, frozen=True, kw_only=True):
    """What was done to one structure. What was done to it as a whole is not repeated in its fields."""

    structure: Name
    address: Hex
    size: Count
    since_insns: Count
    """Instructions executed when the watch began."""
    until_insns: Count
    reads: Count = 0
    writes: Count = 0
    bytes_read: Count = 0
    """How many of its bytes were read at least once, as a whole or not."""
    whole: Annotated[list[WholeUse], msgspec.Meta(max_length=1 << 12)] = []
    fields: Annotated[list[FieldUse], msgspec.Meta(max_length=1 << 16)] = []
    """In the order of the structure. Empty for a range without fields."""
    never_read: Annotated[list[Name], msgspec.Meta(max_length=1 << 16)] = []
    """Fields that nobody read except as part of the whole, padding left out; runs of array elements are drawn together."""


class LegacyUse(_Struct, frozen=True, kw_only=True):
    """Accesses to memory that has a meaning on PCs since 1981."""

    group: Name
    start: Hex
    size: Count
    reads: Count
    writes: Count
    places: Count
    """How many different addresses; in searched areas, paragraphs of 16 bytes."""
    first_insns: Count
    last_insns: Count
    first: CodeRef
    functions: Annotated[list[Name], msgspec.Meta(max_length=CODE_LIMIT)]


class Consumed(_Struct, frozen=True, kw_only=True):
    """What was read and written, as a record has it."""

    structures: Annotated[list[Consumption], msgspec.Meta(max_length=1 << 12)] = []
    legacy: Annotated[list[LegacyUse], msgspec.Meta(max_length=64)] = []
    dropped: Count = 0
    """Accesses that were not kept because there were too many different ones."""
    left_out: Count = 0
    """Structures that were not watched because there were too many."""


class FunctionCoverage(_Struct, frozen=True, kw_only=True):
    """How much of a function ran. Code without symbols counts as one function, named as its part."""

    name: Name
    part: Name = ""
    """shim (one in the guest), setup, decompressor, stub, kernel, user or elsewhere."""
    blocks: Count
    insns: Count = 0
    """Instructions that ran in it, by whole blocks."""
    offsets: str = ""
    """Where its blocks begin, hexadecimal and in ascending order: offsets in the function, or in the image file."""


class PartCoverage(_Struct, frozen=True, kw_only=True):
    """How much of a part of the way ran, and how many instructions went there."""

    name: Name
    blocks: Count
    insns: Count


class Coverage(_Struct, frozen=True, kw_only=True):
    """Which code ran, by translated blocks."""

    blocks: Count = 0
    parts: Annotated[list[PartCoverage], msgspec.Meta(max_length=64)] = []
    functions: Annotated[list[FunctionCoverage], msgspec.Meta(max_length=1 << 20)] = []
    trace: Annotated[list[Name], msgspec.Meta(max_length=1 << 16)] = []
    """The first blocks of the kernel proper in the order in which they first ran: `symbol+0x12`."""


class Record(_Struct, frozen=True, kw_only=True):
    """One run."""

    schema: Annotated[int, msgspec.Meta(ge=SCHEMA, le=SCHEMA)] = SCHEMA
    tool: Tool
    image: Image
    route: RouteName
    options: Options
    milestones: Annotated[list[MilestonePoint], msgspec.Meta(max_length=len(Milestone))]
    outcome: Outcome
    firmware_calls: Annotated[list[FirmwareCall], msgspec.Meta(max_length=1 << 20)]
    firmware_calls_dropped: Count = 0
    """Calls after the list was full; they are counted, not kept."""
    machine: dict[str, Any] | None = None
    """The machine as the guest could find it: memory map, CPUID, MSRs, ACPI tables."""
    entry_view: dict[str, Any] | None = None
    """The processor, the native structure and the modules at the first instruction of the image."""
    abi: Annotated[list[AbiViolation], msgspec.Meta(max_length=1 << 12)] | None = None
    """What is wrong at the entry; null when no checker knows it, or observers are off."""
    boot_view: dict[str, Any] | None = None
    """What the kernel was told, at `startup_64` (a 32-bit kernel: `startup_32`); null when the run did not get there."""
    kernel_view: dict[str, Any] | None = None
    """The same of the kernel's own copy of boot_params, taken at `start_kernel`."""
    ledger: Annotated[list[LedgerEntry], msgspec.Meta(max_length=1 << 20)]
    ledger_dropped: Count = 0
    """Accesses of new kinds after the ledger was full; they are counted, not kept."""
    coverage: Coverage
    consumed: Consumed | None = None
    """What was read and written of the native structure, of boot_params, of the firmware's tables and of legacy memory; null
    when observers are off. Accesses by firmware on the host's side are not among them.
    """
    notes: Annotated[list[Text], msgspec.Meta(max_length=1024)] = []
    """What is not emulated and was asked for, where the boot information came from, and the like."""
    console: str
    """What the guest wrote to its serial console; bytes that are not UTF-8 appear as escapes."""
    console_dropped: Count = 0
    reproduce: Text
    """The exact command that gives this record again."""


_ENCODER = msgspec.json.Encoder(order="sorted")
_DECODER = msgspec.json.Decoder(Record)


class _Head(msgspec.Struct):
    """What is looked at before the rest: fields of another schema may have other types."""

    schema: int = SCHEMA


_HEAD = msgspec.json.Decoder(_Head)


def hexadecimal(value: int) -> str:
    """An address or register value as a record writes it."""
    return f"{value:#x}"


def console_text(data: bytes) -> tuple[str, int]:
    """Guest console bytes as a record keeps them: the first CONSOLE_LIMIT as text, and how many were dropped."""
    return data[:CONSOLE_LIMIT].decode("utf-8", "backslashreplace"), max(0, len(data) - CONSOLE_LIMIT)


def meets(reached: list[MilestonePoint], goal: Milestone) -> bool:
    """Was the goal among the milestones that were passed?"""
    return any(point.name is goal for point in reached)


def encode(record: Record) -> bytes:
    """The canonical bytes: keys sorted, two spaces of indentation, one newline at the end. `decode` reads them back: what
    does not fit into the schema or RECORD_LIMIT is cut, and said.
    """
    for cut in (lambda: record, lambda: _shortened(opened(record))):
        with suppress(RecordError, UnicodeEncodeError, OverflowError):
            data = _canonical(cut())
            decode(data)
            return data
    return _canonical(_shortened(clipped(msgspec.to_builtins(record), Record)))


def _shortened(document: dict[str, Any]) -> dict[str, Any]:
    return shortened(document, lambda part: len(_canonical(part)), RECORD_LIMIT)


def _canonical(value: Any) -> bytes:
    return msgspec.json.format(_ENCODER.encode(value), indent=2) + b"\n"


def decode(data: bytes, *, name: str = "the record") -> Record:
    """Read a record back, strictly. Raises RecordError; `name` is what its sentence calls the file."""
    if len(data) > RECORD_LIMIT:
        raise RecordError(f"{name} is larger than {RECORD_LIMIT >> 20} MiB, which no record is")
    try:
        number = _HEAD.decode(data).schema
        if number != SCHEMA:
            hint = f"it has schema {number}, this efishim reads schema {SCHEMA}"
            raise RecordError(f"{name} is not a record that this efishim reads", hint=hint)
        return _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise RecordError(f"{name} is not a record: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{name} is not JSON: {error}") from error


def without_wall_clock(record: Record) -> Record:
    """The same record with every field of WALL_CLOCK_FIELDS set to zero."""
    replace = msgspec.structs.replace
    return replace(
        record,
        milestones=[replace(point, seconds=0.0) for point in record.milestones],
        outcome=replace(record.outcome, seconds=0.0),
    )


def json_schema() -> dict[str, Any]:
    """The record as JSON Schema (draft 2020-12)."""
    schema = msgspec.json.schema(Record)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"efishim record, schema {SCHEMA}",
        **schema,
    }
