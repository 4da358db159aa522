"""The native hooks: count blocks and check deadlines without a Python call per block.

The code is `efishim_firmware_stubs/machine/host_x86_64.asm`, assembled once and committed; this module loads it into executable
memory and gives it its data. Layouts here and there must agree; `tests/machine/test_native.py` holds them together.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from importlib import resources

from efishim.errors import MachineError
from efishim.machine.memory import MAP_NORESERVE

ENTRIES_SHIFT = 18
ENTRY_SIZE, LOG_ENTRY_SIZE = 32, 16
"""Of the block table: pc in 64 bits; size, instructions, flags and age in 16 each; times entered in 64; its origin in 64."""
PIECE = 256
"""Entries of the block table that are looked at together."""
NEVER = (1 << 64) - 1
FAR = 1 << 62
"""A deadline that is never reached, and small enough to count down from."""
ORIGIN_OFFSET = 24
EVENT = 1 << 31
"""In an origin: not a block, but the interrupt or exception whose vector the low bits have."""
RESUMED_LIMIT = 1 << 16
"""Addresses at which the guest was interrupted that are remembered."""
COUNT_MASK = (1 << 63) - 1
"""Of how often a block was entered: the bit above says that something is special about it."""
MAP_32BIT = 0x40
"""Linux: in the first 2 GiB of the address space. Python has the name from 3.13 on."""
WATCHES, MATCHES = 8, 2
"""How many addresses and (mask, value) pairs the native code compares before it asks about every block."""
CODE_BUFFER = 1 << 16


class Cause(IntEnum):
    """Why a native hook stopped the emulation before the current block."""

    NONE = 0
    DEADLINE = 1
    INTERRUPT = 2
    FLAGGED = 3
    UNKNOWN = 4
    FULL = 5


class BlockFlag(IntEnum):
    """Bits of a block's flags; any of them stops before the block runs."""

    RETRANSLATE = 1
    WATCHED = 2


WORDS = (
    "left",
    "target",
    "limit",
    "attention",
    "slow",
    "last_entry",
    "cause",
    "env",
    "table",
    "used",
    "emu_stop",
    "new_block",
    "block_log",
    "log_used",
    "log_size",
    "uc",
    "forced",
    "vmem_read",
    "buffer",
    "always",
)


class State(ctypes.Structure):
    """What the hooks share with Python. All fields are made of 64-bit words; see the assembly source for their meaning.

    The hooks count down to the next stop; `insns` and `deadline` are what that means to everybody else.
    """

    _fields_ = (
        ("left", ctypes.c_int64),
        *((name, ctypes.c_uint64) for name in WORDS[1:]),
        ("watches", ctypes.c_uint64 * WATCHES),
        ("matches", ctypes.c_uint64 * (2 * MATCHES)),
        ("unknown_size", ctypes.c_uint64),
        ("host_pc", ctypes.c_uint64),
        ("check_exit", ctypes.c_uint64),
        ("rewrite", ctypes.c_uint64),
        ("rewritten", ctypes.c_uint64),
        ("refused", ctypes.c_uint64),
        ("event", ctypes.c_uint64 * (ENTRY_SIZE // 8)),
        ("fast", ctypes.c_uint64),
        ("stack_log", ctypes.c_uint64),
    )
    left: int
    target: int
    limit: int
    attention: int
    slow: int
    last_entry: int
    cause: int
    env: int
    table: int
    used: int
    emu_stop: int
    new_block: int
    block_log: int
    log_used: int
    unknown_size: int
    host_pc: int
    check_exit: int
    rewrite: int
    rewritten: int
    refused: int
    event: ctypes.Array[ctypes.c_uint64]
    fast: int
    stack_log: int
    log_size: int
    uc: int
    forced: int
    vmem_read: int
    buffer: int
    always: int
    watches: ctypes.Array[ctypes.c_uint64]
    matches: ctypes.Array[ctypes.c_uint64]

    @property
    def insns(self) -> int:
        """Instructions executed, whole blocks."""
        return self.target - self.left

    @insns.setter
    def insns(self, value: int) -> None:
        self.left = self.target - value

    @property
    def deadline(self) -> int:
        """The next block does not run once so many instructions were executed."""
        return self.target

    @deadline.setter
    def deadline(self, value: int) -> None:
        insns = self.target - self.left
        self.target = target = min(value, FAR)
        self.left = target - insns

    @property
    def last_pc(self) -> int:
        """Linear address of the block that runs now, 0 before the first."""
        return ctypes.c_uint64.from_address(self.last_entry).value if self.last_entry else 0


_EVENT_OFFSET: int = getattr(State, "event").offset  # noqa: B009 - of the descriptor

NEW_BLOCK = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint32)


def private(size: int, *, executable: bool = False, low: bool = False) -> mmap.mmap:
    """Host memory of zeroes that costs nothing until it is touched. A process that forks with a machine in it has two machines:
    Python's own choice, MAP_SHARED, would have both write the same tables. `low` has an address of 31 bits. Raises OSError."""
    protection = mmap.PROT_READ | mmap.PROT_WRITE | (mmap.PROT_EXEC if executable else 0)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE | (MAP_32BIT if low else 0)
    return mmap.mmap(-1, size, flags=flags, prot=protection)


def low_if_possible(size: int) -> mmap.mmap:
    """Host memory that code in a block reaches with 32-bit addresses, or any where there is none left."""
    try:
        return private(size, low=True)
    except OSError:
        return private(size)


def address_of(buffer: mmap.mmap) -> int:
    """Where it is on the host."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class NativeHooks:
    """The loaded code and its data.

    `new_block(pc, size, icount)` is called for translated blocks that may matter, before they run, and returns their flags
    (`BlockFlag`); `size` in bytes, `icount` in instructions.
    """

    def __init__(self, *, emu_stop: int, vmem_read: int, new_block: Callable[[int, int, int], int]) -> None:
        if platform.machine() not in {"x86_64", "AMD64"}:
            raise MachineError(
                f"this host is {platform.machine()}, and the native hooks exist for x86-64 only",
                hint="run efishim on an x86-64 machine",
            )
        code = resources.files("efishim_firmware_stubs").joinpath("machine/host_x86_64.bin").read_bytes()
        try:
            self._code = private(0x1000, executable=True)
        except OSError as error:
            raise MachineError(f"the host refuses executable memory: {error.strerror}") from error
        self._code.write(code)
        base = address_of(self._code)
        block, edge, slow, _ = struct.unpack_from("<4Q", code)
        self.block_hook = base + block
        self.edge_hook = base + edge
        self._table = low_if_possible(ENTRY_SIZE << ENTRIES_SHIFT)
        self._shared = low_if_possible(mmap.PAGESIZE)
        self._log = private(LOG_ENTRY_SIZE << ENTRIES_SHIFT)
        self._stack_log = private(8 << ENTRIES_SHIFT)
        self.resumed: dict[int, int] = {}
        """By the address at which an interrupt or exception was delivered first: the origin of the block that goes on there."""
        self._buffer = private(2 * CODE_BUFFER)
        self._entered: dict[tuple[int, int], int] = {}
        self._callback = NEW_BLOCK(new_block)
        callback = ctypes.cast(self._callback, ctypes.c_void_p).value
        self.state = state = State.from_buffer(self._shared)
        state.deadline = state.limit = NEVER
        state.slow = base + slow
        state.table, state.buffer = address_of(self._table), address_of(self._buffer)
        state.block_log, state.log_size = address_of(self._log), 1 << ENTRIES_SHIFT
        state.stack_log = address_of(self._stack_log)
        state.emu_stop, state.vmem_read, state.new_block = emu_stop, vmem_read, callback or 0

    @property
    def state_address(self) -> int:
        """Host address of the shared structure."""
        return ctypes.addressof(self.state)

    def listen(self, watches: Sequence[int], matches: Sequence[tuple[int, int]], *, all_blocks: bool = False) -> None:
        """Say which blocks `new_block` must be asked about besides those whose bytes matter."""
        state = self.state
        beyond = len(watches) > WATCHES or len(matches) > MATCHES or any(not mask for mask, _ in matches)
        state.always = int(all_blocks or beyond)
        for slot in range(WATCHES):
            state.watches[slot] = watches[slot] if slot < len(watches) else 0
        for slot in range(MATCHES):
            mask, value = matches[slot] if slot < len(matches) else (0, 0)
            state.matches[2 * slot], state.matches[2 * slot + 1] = mask, value

    def forget_blocks(self) -> None:
        """Empty the block table (after all translations were dropped); the log of first translations stays."""
        if self.state.used:
            self._entered = self.times_entered()
            origin = self._origin()
            self._empty()
            if origin:
                self._stand_in(origin)

    def _empty(self) -> None:
        self._table.madvise(mmap.MADV_DONTNEED)  # it reads as zeroes, and takes no memory until it is written to
        self.state.used = self.state.last_entry = 0

    def reset(self) -> None:
        """As if no block had ever run (after all translations were dropped)."""
        self._empty()
        self._entered, self.resumed = {}, {}
        state = self.state
        state.log_used = state.cause = state.forced = state.rewritten = state.refused = 0
        state.insns = 0
        state.deadline = state.limit = NEVER

    def interrupted(self, pc: int, vector: int) -> None:
        """An interrupt or exception is delivered before the instruction at `pc`. The block that runs next is its handler's, and
        does not follow from the one that ran before.
        """
        if len(self.resumed) < RESUMED_LIMIT:
            self.resumed.setdefault(pc, self._origin())
        self._stand_in(EVENT | vector)

    def _origin(self) -> int:
        """Of a block that would run for the first time now."""
        entry = self.state.last_entry
        return ctypes.c_uint32.from_address(entry + ORIGIN_OFFSET).value if entry else 0

    def _stand_in(self, origin: int) -> None:
        """Until the next block runs, an entry without address and size stands for the last one."""
        state = self.state
        state.event[ORIGIN_OFFSET // 8] = origin
        state.last_entry = self.state_address + _EVENT_OFFSET

    def learn(self, handle: int, pc: int, size: int, icount: int) -> None:
        """Enter a block that the edge hook was not called for. `handle` is the engine's."""
        tb = struct.pack("<QHH4x", pc, icount, size)
        buffer = ctypes.create_string_buffer(tb)
        edge = ctypes.CFUNCTYPE(None, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)(self.edge_hook)
        edge(handle, ctypes.addressof(buffer), 0, self.state_address)

    def mark(self, pc: int, flags: int) -> None:
        """Add flags to every known block that starts at `pc`."""
        for entry in self._entries(pc):
            ctypes.c_uint16.from_address(entry + 12).value |= flags
            self._special(entry)

    def unmark(self, pc: int, flags: int) -> None:
        """Take flags off every known block that starts at `pc`."""
        for entry in self._entries(pc):
            ctypes.c_uint16.from_address(entry + 12).value &= ~flags

    def flags(self, pc: int) -> int:
        """Those of every known block that starts at `pc`, together."""
        found = 0
        for entry in self._entries(pc):
            found |= ctypes.c_uint16.from_address(entry + 12).value
        return found

    def count_as(self, pc: int, size: int, insns: int) -> None:
        """Let the known block of this size at `pc` add `insns` to the count, which may be negative."""
        for entry in self._entries(pc):
            if ctypes.c_uint16.from_address(entry + 8).value == size:
                ctypes.c_int16.from_address(entry + 10).value = insns
                self._special(entry)

    def _entries(self, pc: int) -> Iterator[int]:
        """Host address of the entry of each known block that starts at `pc`."""
        table = self.state.table
        slot = ((pc * 0x9E3779B97F4A7C15) & NEVER) >> (64 - ENTRIES_SHIFT)
        while True:
            entry = table + slot * ENTRY_SIZE
            there = ctypes.c_uint64.from_address(entry).value
            if there == 0:
                return
            if there == pc:
                yield entry
            slot = (slot + 1) % (1 << ENTRIES_SHIFT)

    @staticmethod
    def _special(entry: int) -> None:
        """Translations of the block that count themselves must look at its entry from now on."""
        ctypes.c_uint64.from_address(entry + 16).value |= COUNT_MASK + 1

    def times_entered(self) -> dict[tuple[int, int], int]:
        """How often each block was entered so far, by (pc, size)."""
        found: dict[tuple[int, int], int] = {}
        for piece in self._used_pieces():
            words = array("Q", piece)
            columns = (words[column :: ENTRY_SIZE // 8] for column in range(3))
            found.update({(pc, size & 0xFFFF): count & COUNT_MASK for pc, size, count in zip(*columns, strict=True) if pc})
        for block, count in self._entered.items():
            found[block] = found.get(block, 0) + count
        return found

    def entered(self, pc: int) -> int:
        """How often known blocks that start at `pc` were entered since the table was emptied."""
        return sum(ctypes.c_uint64.from_address(entry + 16).value & COUNT_MASK for entry in self._entries(pc))

    def _used_pieces(self) -> Iterator[bytes]:
        """The table's entries without long runs of empty ones: while it is filled, most of it is."""
        size = ENTRY_SIZE * PIECE
        empty = bytes(size)
        for at in range(0, ENTRY_SIZE << ENTRIES_SHIFT, size):
            piece = ctypes.string_at(self.state.table + at, size)
            if piece != empty:
                yield piece

    def blocks(self) -> list[tuple[int, int, int]]:
        """(pc, size, icount) of every block in the order of first translation; the state's `log_used` is their number so far.

        A block that is translated again after all translations were dropped is there again.
        """
        raw = self._log[: self.state.log_used * LOG_ENTRY_SIZE]
        return list(struct.iter_unpack("<QHH4x", raw))

    def origins(self) -> tuple[array[int], array[int]]:
        """For each row of `blocks`: what ran before the block when it ran for the first time, which is a row's number + 1,
        EVENT and a vector, or 0 when that is not known; and the word at the top of the kernel's stack, 0 likewise.
        """
        used = self.state.log_used
        return array("I", self._log[: used * LOG_ENTRY_SIZE])[3 :: LOG_ENTRY_SIZE // 4], array("Q", self._stack_log[: 8 * used])
