"""Finds for each block the one that led to it when it ran for the first time, so that blocks form trees.

The machine knows which block began before (docs/adr/0015-blocks-that-count-themselves.md). That is the one that led there, but
not behind a return, where it is the end of what was called; not in a function that was called through a trampoline; and not
where the guest went on after an interrupt.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from efishim.machine.native import EVENT

TRAMPOLINES = ("__x86_indirect_", "__x86_return_thunk", "__SCT__")
"""Functions that only jump on (arch/x86/lib/retpoline.S, arch/x86/kernel/static_call.c): an indirect jump may end in one."""
COLD = ".cold"
"""Behind the name of a function whose unlikely blocks the compiler put elsewhere (GCC, -freorder-blocks-and-partition)."""
ASIDE = "_einittext"
"""Behind this symbol lie pieces of many functions: tests of processor features before the kernel has patched itself
(.altinstr_aux; arch/x86/include/asm/cpufeature.h, _static_cpu_has()).
"""
LOOK_BACK = 16
"""Blocks in front of an address that may overlap it."""

UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Notes:
    """What the machine wrote down; see `NativeHooks.origins` and `NativeHooks.resumed`."""

    origins: Sequence[int] = ()
    stack: Sequence[int] = ()
    resumed: Mapping[int, int] = field(default_factory=dict)


@dataclass
class Rows:
    """The blocks that ran, in the order in which they were translated first; a number for each."""

    blocks: Sequence[tuple[int, int, int]]
    """(pc, bytes, instructions)."""
    function: list[int] = field(default_factory=list)
    """Which function each row is of, by its place in `names`."""
    offset: list[int] = field(default_factory=list)
    """Where in it."""
    names: list[str] = field(default_factory=list)
    first: dict[int, int] = field(default_factory=dict)
    """The row of a block's first translation by its address."""
    again: dict[int, int] = field(default_factory=dict)
    """Of the others: the row of the first."""


def leads(rows: Rows, notes: Notes) -> list[int]:
    """For each row the row that led to it: an earlier one, UNKNOWN, or `event(vector)`. Of blocks that were translated before,
    nothing is said.
    """
    blocks, function = rows.blocks, rows.function
    if len(notes.origins) != len(blocks):
        return [UNKNOWN] * len(blocks)
    found: list[int] = []
    around: _Around | None = None
    for row, origin in enumerate(notes.origins):
        before = origin - 1
        if origin & EVENT:
            before = event(origin & ~EVENT)
        elif before >= 0:
            if rows.again:
                before = rows.again.get(before, before)
            if function[before] != function[row]:
                if around is None:
                    around = _Around(rows, notes, found)
                before = around(row, before)
            if before >= row:
                before = UNKNOWN
        found.append(before)
    return found


class _Around:
    """What leads to a block, when another function ran before it."""

    def __init__(self, rows: Rows, notes: Notes, found: Sequence[int]) -> None:
        self._rows, self._notes, self._found = rows, notes, found
        self._order = sorted(rows.first)
        self._left: dict[int, int] = {}
        """Where the code was before it went aside, by the rows there."""
        self._ends: dict[int, int] = {}
        for pc, row in rows.first.items():
            self._ends.setdefault(pc + rows.blocks[row][1], row)

    def __call__(self, row: int, before: int) -> int:
        rows = self._rows
        pc = rows.blocks[row][0]
        name, came_from = rows.names[rows.function[row]], rows.names[rows.function[before]]
        if COLD in name + came_from and _whole(name) == _whole(came_from):
            return before
        if came_from == ASIDE:
            way = []
            while 0 <= before < row and rows.names[rows.function[before]] == ASIDE:
                if before in self._left:
                    before = self._left[before]
                    break
                way.append(before)
                before = self._found[before]
            self._left.update(dict.fromkeys(way, before))
            return before
        # Each of these leads there, if it ran before.
        resumed = self._notes.resumed.get(pc, 0)
        if resumed and not resumed & EVENT and (went_on := rows.again.get(resumed - 1, resumed - 1)) < row:
            return went_on
        called = row
        if rows.offset[row]:
            called = self._ends.get(pc, row)
            if called >= row:
                called = self._inside(pc, row)
        elif came_from.startswith(TRAMPOLINES):
            called = self._ends.get(self._notes.stack[row], row)
        return called if called < row else before

    def _inside(self, pc: int, row: int) -> int:
        """The row of an earlier block that `pc` lies in: it was left there, or patched since. `row` when there is none."""
        blocks, first = self._rows.blocks, self._rows.first
        at = bisect_left(self._order, pc)
        for start in reversed(self._order[max(0, at - LOOK_BACK) : at]):
            if start + blocks[first[start]][1] > pc and first[start] < row:
                return first[start]
        return row


def event(vector: int) -> int:
    """How an interrupt or exception is written where a row is expected."""
    return UNKNOWN - 1 - vector


def vector_of(row: int) -> int | None:
    """The vector, when it is one."""
    return UNKNOWN - 1 - row if row < UNKNOWN else None


def _whole(name: str) -> str:
    return name.partition(COLD)[0]
