"""A stopped guest in words: instructions with symbols, and registers."""

from __future__ import annotations

from collections.abc import Callable

from efishim.machine.cpu import GuestFault
from efishim.machine.disassembly import shown
from efishim.machine.machine import Machine
from efishim.machine.memory import PAGE

LONGEST_INSTRUCTION = 15
LINES = 4
_ROWS = (
    ("rax", "rbx", "rcx", "rdx"),
    ("rsi", "rdi", "rbp", "rsp"),
    ("r8", "r9", "r10", "r11"),
    ("r12", "r13", "r14", "r15"),
    ("rip", "eflags", "cs", "ss"),
    ("cr0", "cr3", "cr4", "efer"),
)
_NARROW_ROWS = (*_ROWS[:2], *_ROWS[4:])
"""Code of 16 and 32 bits has no R8 to R15."""


def instructions(machine: Machine, at: int, count: int) -> list[tuple[int, str]]:
    """(address, text) of the next instructions at a linear address, in the present mode; fewer where memory ends."""
    code = b""
    for size in (count * LONGEST_INSTRUCTION, PAGE - at % PAGE):
        try:
            code = machine.cpu.read(at, size)
            break
        except GuestFault:
            continue
    return [(where, text) for where, _size, text in shown(code[: count * LONGEST_INSTRUCTION], at, machine.cpu.mode)[:count]]


def located(machine: Machine, name: Callable[[int], str], count: int = LINES) -> list[str]:
    """The mode, and the next instructions with their names."""
    at = machine.engine.env.linear
    lines = [f"{machine.cpu.mode}-bit code at {at:#x}"]
    return lines + [f"  {where:#018x}  {name(where) or '-':<32} {text}" for where, text in instructions(machine, at, count)]


def register_lines(machine: Machine) -> list[str]:
    """The registers that matter in the present mode, four in a line."""
    cpu = machine.cpu
    rows = _ROWS if cpu.mode == 64 else _NARROW_ROWS
    return ["  " + "  ".join(f"{name:<6} {cpu.get(name):016x}" for name in row) for row in rows]
