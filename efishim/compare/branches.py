"""What a branch in the kernel's code tests: a slice backwards from it, along the blocks that ran.

The slice ends at places in memory with a fixed address (variables of the kernel, its copy of boot_params) and at results of
functions. It follows registers within a function, not the stack, and not what a pointer points to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from efishim.image.kernel_code import Instruction, KernelCode

STEPS = 12
"""Blocks that a slice goes back."""
THUNK = "__x86_indirect_thunk_"
PASSED = ("rax", "rdx", "rcx"), ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
"""Registers of arguments, of 32 bits (-mregparm=3, arch/x86/Makefile) and of 64 (System V ABI, section 3.2.3)."""
COMPARED = 2
"""A result is followed to that many arguments of the function, which is what is compared by one that compares."""
KEPT = frozenset({"rbx", "rbp", "r12", "r13", "r14", "r15"})
"""Registers that a call leaves as they were (System V ABI for x86-64, section 3.2.1)."""
FRAME = frozenset({"rsp", "rip", "gs", "fs"})


@dataclass(frozen=True, slots=True)
class Cell:
    """A place in memory; `size` bytes that are read there, or of which the address is handed on."""

    address: int
    size: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a function returned."""

    function: int


@dataclass(frozen=True, slots=True)
class Argument:
    """What a function was called with."""

    function: int


@dataclass(frozen=True, slots=True)
class Target:
    """A function that is called through a pointer."""

    function: int


Source = Cell | Result | Argument | Target


def sources(code: KernelCode, branch: int, first: int, way_back: Callable[[int], int | None]) -> list[Source]:
    """What decides that `first` runs behind the block at `branch`. `way_back` has the block that led to one, by addresses."""
    block = code.block(branch)
    if not block:
        return [Target(first)]
    last = block[-1]
    key = code.key_behind(branch, last.end, first)
    if key is not None:
        return [Cell(key, 8)]
    if last.kind == "jcc" and first in (last.target, last.end):
        return list(_back(code, block, {"flags"}, branch, way_back))
    name = code.name(first)
    if name is None or name[1]:
        return []
    found: list[Source] = [Target(first)]
    if last.kind in ("call", "jmp"):
        through = None if last.target is None else code.name(last.target)
        if through is not None and not through[0].startswith(THUNK):
            return found
        found += _back(code, block, set(last.reads) - FRAME, branch, way_back)
    return found


def leads_to(block: Sequence[Instruction], address: int) -> bool:
    """Does a block end in a choice of which one way is there?"""
    return bool(block) and block[-1].kind == "jcc" and address in (block[-1].target, block[-1].end)


def _back(
    code: KernelCode, block: Sequence[Instruction], needed: set[str], start: int, way_back: Callable[[int], int | None]
) -> Iterator[Source]:
    if block[-1].kind != "jcc":
        for place in block[-1].memory:
            if place.address is not None:
                yield Cell(place.address, place.size)
        block = block[:-1]
    for step in range(STEPS):
        yield from _through(code, block, needed)
        before = way_back(start)
        if not needed or before is None:
            name = code.name(start)
            if needed & set(PASSED[code.wide]) and name is not None and not name[1]:
                yield Argument(start)
            return
        block, after = code.block(before), start
        if not block or (block[-1].kind == "call" and block[-1].end != after):
            return
        start = before
        if step + 1 == STEPS:
            return


def _through(code: KernelCode, block: Sequence[Instruction], needed: set[str]) -> Iterator[Source]:
    """Follows registers from the end of a block to its begin; `needed` is what is still open there."""
    for one in reversed(block):
        if one.kind == "call":
            returned = "rax" in needed and one.target is not None
            if returned and one.target is not None:
                yield Result(one.target)
            needed &= KEPT
            needed |= set(PASSED[code.wide][:COMPARED]) if returned else set()
            continue
        if not needed & one.writes:
            continue
        needed -= one.writes
        for place in one.memory:
            if place.read and place.address is not None:
                yield Cell(place.address, place.size)
        for address in one.addresses:
            yield Cell(address, 1)
        needed |= one.reads - FRAME - {"flags"}
