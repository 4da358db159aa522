"""The last moments of a run that did not reach its goal."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from efishim.lab.record.processor import ControlRegisters, Registers
from efishim.lab.record.run import CodeRef
from efishim.lab.record.values import Count, Hex, Name, Part, Text


class GuestException(Part, frozen=True, kw_only=True):
    """An exception that the guest's code caused; interrupts and INT n are none."""

    vector: Count
    """Its number (SDM volume 3, table 6-1)."""
    name: Name
    """Its mnemonic, as `#PF`."""
    error: Hex | None = None
    """The error code, where the exception has one."""
    address: Hex | None = None
    """Of a page fault, the address that was accessed (CR2)."""
    at: CodeRef
    """The instruction."""
    insns: Count
    """Guest instructions executed when it happened."""


class CodeLine(Part, frozen=True, kw_only=True):
    """One instruction."""

    at: CodeRef
    """Where it is."""
    code: Name
    """Its bytes in hexadecimal."""
    text: Name
    """Its disassembly."""


class LastMoments(Part, frozen=True, kw_only=True):
    """Where the guest was when the run ended, or when the kernel called panic(), and how it came there."""

    moment: Name = "end"
    """When this was: `panic`, when the kernel called panic(); `exception`, at the last exception; `end`, at the end."""
    insns: Count
    """Guest instructions executed at that moment."""
    panic: Text = ""
    """What the kernel's panic said."""
    exceptions: Annotated[list[GuestException], Meta(max_length=16)] = field(default_factory=list)
    """The last exceptions, in order. Kernels expect some of them: page faults of programs, probes of MSRs."""
    mode: Name
    """`real16`, `protected32`, `long64` ..."""
    registers: Registers
    """The general registers."""
    control: ControlRegisters
    """The control registers."""
    code: Annotated[list[CodeLine], Meta(max_length=64)] = field(default_factory=list)
    """Instructions from RIP on."""
    new_code: Annotated[list[CodeRef], Meta(max_length=64)] = field(default_factory=list)
    """The last blocks that ran for the first time, in order: the newest code that the guest reached."""
    backtrace: Annotated[list[CodeRef], Meta(max_length=64)] = field(default_factory=list)
    """Return addresses on the stack, the innermost first: every word that points behind a call instruction. Some may be left
    over from calls that have returned.
    """
    log: Annotated[list[Text], Meta(max_length=256)] = field(default_factory=list)
    """The end of the kernel's own log, read from its ring in guest memory; it is there before any console is."""
