"""The last moments of a run as lines of text: the kernel's words first, then how it came to them."""

from __future__ import annotations

from efishim.lab.record import CodeRef, GuestException, LastMoments, Record
from efishim.logged_call import LOOKUPS

LOG, CODE, NEW_CODE, FRAMES = 20, 6, 8, 12
"""How many lines of each are shown; the record has more."""
MOMENTS = {"panic": ", when panic() was called", "exception": ", at the exception"}
NULL_PAGE = 0x1000
RECENT = 1_000_000
"""An exception longer ago than this is not the cause of death: the kernel expected it."""
ROW = 4
"""Registers on a line."""
REGISTERS = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "eflags"),
)
CONTROL = ("cr0", "cr2", "cr3", "cr4", "efer")


def last_moments(record: Record) -> list[str]:
    """Lines for people, none for a run that reached its goal."""
    last = record.last_moments
    if not isinstance(last, LastMoments):
        return []
    lines = ["last moments:"]
    if last.panic:
        lines.append(f"  the kernel panicked: {last.panic}")
    recent = [one for one in last.exceptions if last.insns - one.insns <= RECENT]
    lines += [f"  exception {_exception(one, last.insns)}" for one in recent]
    lines.append(f"  registers ({last.mode}{MOMENTS.get(last.moment, '')}):")
    values = [f"{name} {last.registers.named(name):#x}" for name in REGISTERS]
    values += [f"{name} {getattr(last.control, name):#x}" for name in CONTROL]
    lines += [f"    {'  '.join(values[at : at + ROW])}" for at in range(0, len(values), ROW)]
    lines += _null_pointer(record) if int(last.registers.rip) < NULL_PAGE else []
    lines += [] if last.panic else _listed("code", [f"{one.at.shown}: {one.text}" for one in last.code[:CODE]])
    lines += _listed("return addresses on the stack", [_place(one) for one in last.backtrace[:FRAMES]])
    lines += _listed("last code that ran for the first time", [_place(one) for one in last.new_code[-NEW_CODE:]])
    lines += _listed("end of the kernel's log", last.log[-LOG:])
    return lines


def _null_pointer(record: Record) -> list[str]:
    """Who calls through a null pointer often has it from a look-up of which it did not see that it failed."""
    for call in reversed(record.firmware_calls):
        if call.service in LOOKUPS and call.status != "EFI_SUCCESS":
            words = ", ".join(f"{one.name} {one.value}" for one in call.args)
            where = f" from {call.caller.shown}" if call.caller is not None else ""
            return [f"  RIP is a null pointer; the last look-up that failed: {call.service} ({words}) {call.status}{where}"]
    return []


def _listed(title: str, rows: list[str]) -> list[str]:
    return [f"  {title}:", *(f"    {row}" for row in rows)] if rows else []


def _place(one: CodeRef) -> str:
    return f"{one.address} {one.symbol}" if one.symbol else str(one.address)


def _exception(one: GuestException, insns: int) -> str:
    error = f", error code {one.error}" if one.error is not None else ""
    address = f", address {one.address}" if one.address is not None else ""
    return (
        f"{one.name} (vector {one.vector}{error}{address}) at {one.at.shown}, {max(insns - one.insns, 0):,} instructions before"
    )
