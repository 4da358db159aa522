"""What the guest did: firmware calls, hardware accesses, code that ran; and ABI violations at its entry."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType, field

from efishim.lab.record.run import CodeRef
from efishim.lab.record.values import Count, Name, Part, Text


class Argument(Part, frozen=True, kw_only=True):
    """A decoded argument of a firmware call."""

    name: Name
    """As the specification calls it."""
    value: Text
    """Hexadecimal, or the specification's name for it (GUIDs, enumeration members, strings in quotes)."""


class FirmwareCall(Part, frozen=True, kw_only=True):
    """One call of the guest into firmware."""

    service: Name
    """The interface and the function: `BootServices.AllocatePages`, `int 15h/E820`."""
    args: Annotated[list[Argument], Meta(max_length=32)]
    """In their order."""
    status: Name
    """The specification's name of the status code, e.g. EFI_NOT_FOUND; of a BIOS call, its carry flag."""
    insns: Count
    """Guest instructions executed since the entry."""
    results: Annotated[list[Argument], Meta(max_length=32)] = field(default_factory=list)
    """What was written back through pointers."""
    caller: CodeRef | None = None
    """Where it came from: the return address."""
    repeats: Count = 1
    """How often the same caller made this call in a row and got the same answer, as in polling for a key."""
    injected: bool | UnsetType = UNSET
    """True for a call that the run was asked to make fail."""


class AbiViolation(Part, frozen=True, kw_only=True):
    """Something at the entry that is not as its specification demands."""

    rule: Name
    """Name of the rule."""
    sentence: Text
    """What it demands, and what was found instead."""
    source: Text
    """The specification, and where in it."""
    found: Text = ""
    """What is there, a clause; the sentence says it too. Empty in older records."""


class LedgerKind(StrEnum):
    """What kind of thing was touched."""

    PORT = "port"
    MMIO = "mmio"
    MSR = "msr"
    CPUID = "cpuid"
    HYPERCALL = "hypercall"
    INSTRUCTION = "instruction"


class LedgerEntry(Part, frozen=True, kw_only=True):
    """One thing of the machine that the guest touched."""

    kind: LedgerKind
    """What kind of thing it is."""
    what: Name
    """The port, MMIO address (`first-last` of a sweep), MSR or CPUID leaf in hexadecimal, or an instruction's mnemonic."""
    device: Name = ""
    """The device that answered; empty if none did."""
    group: Name = ""
    """As people speak of it: `serial`, `PIC`, `CMOS`, `PCI`, `APIC`, `hypervisor leaves` ..."""
    reads: Count = 0
    """How often it was read; of CPUID and hypercalls, how often it ran."""
    writes: Count = 0
    """How often it was written."""
    first_insns: Count = 0
    """Guest instructions executed when it was touched first."""
    last_insns: Count = 0
    """The same of the last time."""
    code: CodeRef | None = None
    """Who did it first."""


class FunctionCoverage(Part, frozen=True, kw_only=True):
    """How much of a function ran. Code without symbols counts as one function, named as its part."""

    name: Name
    """The symbol, or the name of the part."""
    part: Name = ""
    """shim (one in the guest), setup, decompressor, stub, kernel, user or elsewhere."""
    blocks: Count
    """Translated blocks of it that ran."""
    insns: Count = 0
    """Instructions that ran in it, by whole blocks."""
    offsets: str = ""
    """Where its blocks begin, hexadecimal and in ascending order: offsets in the function, or in the image file."""
    after: str | UnsetType = UNSET
    """What led to each of these blocks when it ran for the first time. `3`: the block three places before it in `offsets`, of
    the same function; a negative number counts forwards. `7.2`: block 2 of function 7 in the list of functions, both counted
    from 0. `!ec`: an interrupt or exception, with its vector. `?`: not known. A block behind a call has the block that called.
    Older records do not have this field.
    """


class PartCoverage(Part, frozen=True, kw_only=True):
    """How much of a part of the way ran, and how many instructions went there."""

    name: Name
    """shim (one in the guest), setup, decompressor, stub, kernel, user or elsewhere."""
    blocks: Count
    """Translated blocks of it that ran."""
    insns: Count
    """Instructions that ran in it, by whole blocks."""


class Coverage(Part, frozen=True, kw_only=True):
    """Which code ran, by translated blocks."""

    blocks: Count = 0
    """Different blocks that ran."""
    parts: Annotated[list[PartCoverage], Meta(max_length=64)] = field(default_factory=list)
    """By part of the way, those that ran."""
    functions: Annotated[list[FunctionCoverage], Meta(max_length=1 << 20)] = field(default_factory=list)
    """By part and function."""
    trace: Annotated[list[Name], Meta(max_length=1 << 16)] = field(default_factory=list)
    """The first blocks of the kernel proper in the order in which they first ran: `symbol+0x12`."""
