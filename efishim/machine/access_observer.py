"""Observes reads and writes of selected guest-physical memory, with the code that makes them, at no cost elsewhere.

Unicorn's hooks for loads and stores slow down every access of the guest. This module works on the soft TLB instead
(docs/adr/0011-observing-memory.md): the function that fills it is replaced by native code, which leaves the entries of watched
pages invalid (`efishim_firmware_stubs/machine/observer_x86_64.asm`). So each access to such a page is looked up anew, and is
seen, by physical address, whatever the mapping and the mode; everything else runs as before. The guest cannot notice, and
counts of instructions stay the same.

What is seen are the loads and stores of instructions, and of the processor's helpers (a far jump that reads the GDT). Not
seen: instruction fetches, page walks, and what the host does for the guest: firmware, and the delivery of interrupts.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources

from unicorn.unicorn_py3.unicorn import uclib

from efishim.errors import MachineError
from efishim.machine.memory import PAGE
from efishim.machine.native import address_of, private
from efishim.machine.softtlb import FAST_OFFSET, FILL_OFFSET, MMU_MODES

RANGE_LIMIT = 1 << 12
ROW_LIMIT = 1 << 16
"""Places that are told apart (address, instruction, size, direction), a power of two; later ones are counted as dropped."""
_ROW = struct.Struct("<8Q")
_RANGE = struct.Struct("<3Q")
_ALL = (1 << 64) - 1

VARIABLES = (
    "original",
    "restore",
    "env",
    "fast",
    "state",
    "map",
    "map_pages",
    "ranges",
    "rows",
    "rows_used",
    "rows_limit",
    "index",
    "index_mask",
    "dropped",
    "mismatch",
    "whole_ra",
    "whole_insns",
    "whole_addr",
    "whole_end",
    "second_done",
)


class Variables(ctypes.Structure):
    """What the native code shares with Python; see the assembly source for the meaning of each."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in VARIABLES)
    original: int
    restore: int
    env: int
    fast: int
    state: int
    map: int
    map_pages: int
    ranges: int
    rows: int
    rows_used: int
    rows_limit: int
    index: int
    index_mask: int
    dropped: int
    mismatch: int


@dataclass(frozen=True)
class Access:
    """One instruction's accesses to one place.

    `address` is guest-physical, rounded down to the granule of its range; `size` in bytes is that of the access (a part of it,
    where one reaches into the next page); `code` is the linear address of the instruction and `block` of the block that it
    was executed in; `linear` is where the guest had the place mapped at the first access; `first` and `last` are counts of
    instructions up to the end of the block of the first and the last access.
    """

    address: int
    size: int
    write: bool
    code: int
    block: int
    linear: int
    count: int
    first: int
    last: int


@dataclass(frozen=True)
class ObservedRange:
    """A range of guest-physical memory. `granule` (a power of two, bytes) is 1 where each byte matters; an area that
    is searched is better counted by paragraphs or pages."""

    start: int
    size: int
    granule: int = 1

    def __post_init__(self) -> None:
        if self.size <= 0 or self.start < 0 or self.granule & (self.granule - 1) or self.granule <= 0:
            raise MachineError(f"{self.start:#x}+{self.size:#x} by {self.granule} bytes is nothing to watch")

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.start + self.size


def disjoint(watched: Iterable[ObservedRange]) -> list[ObservedRange]:
    """The same memory in ranges that do not overlap, by address; where several did, the finest granule counts."""
    changes: dict[int, list[tuple[int, int]]] = {}
    for one in watched:
        changes.setdefault(one.start, []).append((one.granule, 1))
        changes.setdefault(one.end, []).append((one.granule, -1))
    out: list[ObservedRange] = []
    open_: dict[int, int] = {}
    edges = sorted(changes)
    for start, end in itertools.pairwise(edges):
        for granule, change in changes[start]:
            open_[granule] = open_.get(granule, 0) + change
        finest = min((granule for granule, count in open_.items() if count), default=None)
        if finest is None:
            continue
        if out and out[-1].end == start and out[-1].granule == finest:
            out[-1] = ObservedRange(out[-1].start, end - out[-1].start, finest)
        else:
            out.append(ObservedRange(start, end - start, finest))
    return out


class Observer:
    """CodeWatches guest-physical memory of one machine, from any moment at which the guest does not run.

    `env` and `state` are the host addresses of CPUX86State and of the native hooks' state, `pages` is the number of 4 KiB
    pages of guest-physical memory, and `flush` empties the soft TLB. `fill` is the host address of what stands in
    CPUClass.tlb_fill, None for Unicorn's own function.
    """

    def __init__(self, *, env: int, state: int, pages: int, flush: Callable[[], None], fill: int | None = None) -> None:
        self._env, self._state, self._pages, self._flush = env, state, pages, flush
        self._fill = fill
        self._watched: tuple[ObservedRange, ...] = ()
        self._marked: list[int] = []
        self._variables: Variables | None = None
        self._keep: list[mmap.mmap] = []

    @property
    def watched(self) -> tuple[ObservedRange, ...]:
        """What is watched now, as it was given."""
        return self._watched

    @property
    def dropped(self) -> int:
        """Accesses that were not kept because there were too many different ones."""
        return self._variables.dropped if self._variables else 0

    def watch(self, *ranges: ObservedRange) -> None:
        """Watch these, too, from now on. What was seen so far is kept. Raises MachineError."""
        self._set((*self._watched, *(one for one in ranges if one not in self._watched)))

    def unwatch(self, *ranges: ObservedRange) -> None:
        """Stop watching these, given as they were to `watch`; all of them when none is given."""
        self._set(tuple(one for one in self._watched if ranges and one not in ranges))

    def accesses(self) -> list[Access]:
        """Everything seen, in the order of the first access. Raises MachineError when the emulator was not as expected."""
        variables = self._variables
        if variables is None:
            return []
        if variables.mismatch:
            raise MachineError(
                "the emulator's table of translations is not where it was expected, so accesses were missed",
                hint="install the unicorn release that efishim's packaging asks for",
            )
        raw = ctypes.string_at(variables.rows, variables.rows_used * _ROW.size)
        return [
            Access(address, what & 0xFFFFFFFF, bool(what >> 32), code, block, linear, count, first, last)
            for address, code, what, block, linear, count, first, last in _ROW.iter_unpack(raw)
        ]

    def _set(self, watched: tuple[ObservedRange, ...]) -> None:
        if watched == self._watched:
            return
        ranges = disjoint(watched)
        if len(ranges) > RANGE_LIMIT:
            raise MachineError(f"{len(ranges)} ranges are more than the {RANGE_LIMIT} that can be watched")
        if ranges and ranges[-1].end > self._pages * PAGE:
            raise MachineError(f"there is no memory to watch at {ranges[-1].end - 1:#x}")
        if self._variables is None:
            if not ranges:
                return
            self._variables = self._load()
        variables = self._variables
        table = b"".join(_RANGE.pack(one.start, one.end, _ALL & -one.granule) for one in ranges)
        ctypes.memmove(variables.ranges, table + _RANGE.pack(_ALL, _ALL, _ALL), len(table) + _RANGE.size)
        pages = (ctypes.c_uint16 * self._pages).from_address(variables.map)
        for page in self._marked:
            pages[page] = 0
        self._marked = []
        for number, one in enumerate(ranges, 1):
            for page in range(one.start // PAGE, (one.end - 1) // PAGE + 1):
                if not pages[page]:
                    pages[page] = number
                    self._marked.append(page)
        self._watched = watched
        self._install(variables, bool(ranges))

    def _load(self) -> Variables:
        code = resources.files("efishim_firmware_stubs").joinpath("machine/observer_x86_64.bin").read_bytes()
        image = private(0x1000, executable=True)
        image.write(code)
        fill, at, _ = struct.unpack_from("<3Q", code)
        variables = Variables.from_buffer(image, at)
        self._hook = address_of(image) + fill
        slots = 4 * ROW_LIMIT
        variables.original, variables.restore = self._check()
        variables.env, variables.fast, variables.state = self._env, self._env + FAST_OFFSET, self._state
        variables.map, variables.map_pages = self._room(2 * self._pages), self._pages
        variables.ranges = self._room((RANGE_LIMIT + 1) * _RANGE.size)
        variables.rows, variables.rows_limit = self._room(ROW_LIMIT * _ROW.size), ROW_LIMIT
        variables.index, variables.index_mask = self._room(4 * slots), slots - 1
        self._keep.append(image)
        return variables

    def _room(self, size: int) -> int:
        """Host address of `size` zeroes that cost nothing until they are touched."""
        room = private(size)
        self._keep.append(room)
        return address_of(room)

    def _check(self) -> tuple[int, int]:
        """Host addresses of `tlb_fill` and `cpu_restore_state`, after looking whether this build is the one we know."""
        found = []
        for name in ("x86_cpu_tlb_fill_x86_64", "cpu_restore_state_x86_64"):
            function = getattr(uclib, name, None)
            found.append(ctypes.cast(function, ctypes.c_void_p).value or 0 if function else 0)
        masks = [ctypes.c_uint64.from_address(self._env + FAST_OFFSET + 16 * mode).value for mode in range(MMU_MODES)]
        plain = all(mask & 0x3F == 0 and (mask + 64) & mask == 0 and mask for mask in masks)
        if self._fill is not None:
            found[0] = self._fill
        if not all(found) or self._slot.value != found[0] or not plain:
            raise MachineError(
                "this build of Unicorn keeps its table of translations elsewhere than expected",
                hint="install the unicorn release that efishim's packaging asks for, or switch the observers off",
            )
        return found[0], found[1]

    @property
    def _slot(self) -> ctypes.c_uint64:
        return ctypes.c_uint64.from_address(self._env + FILL_OFFSET)

    def _install(self, variables: Variables, wanted: bool) -> None:
        """Put our function in, or the original back. Entries made under the other regime must go."""
        self._slot.value = self._hook if wanted else variables.original
        self._flush()
