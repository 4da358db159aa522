"""Makes stores take the fast path, and fixes the size of the soft TLB (docs/adr/0012-the-soft-tlb.md).

Native code (`firmware_stubs/machine/softtlb_x86_64.asm`) stands in for the function with which Unicorn fills its soft TLB. The
guest sees nothing of it: what changes is which stores ask whether they overwrite translated code, and how many translations
are remembered.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import time
from collections.abc import Callable
from importlib import resources

from unicorn.unicorn_py3.unicorn import uclib

from efishim.machine.native import address_of, private
from efishim.machine.shortcuts import NotHere

FILL_OFFSET = 7432
"""Of CPUClass.tlb_fill, from CPUX86State: X86CPU holds both."""
FAST_OFFSET = -64
"""Of CPUTLB.f, from CPUX86State: CPUNegativeOffsetState lies in front of it."""
DESC_SIZE = 696
MMU_MODES = 3
DESC_OFFSET = FAST_OFFSET - 8 - MMU_MODES * DESC_SIZE
"""Of CPUTLB.d; f is aligned to 16 bytes."""
COMMON_SIZE = 32
ENTRY_SIZE = 64
NOTDIRTY = 0x400
ENTRIES = 1 << 13
"""Of each of the three tables: 32 MiB of the guest's memory. They are cleared when the guest loads CR3, so more costs, too."""
USED = ENTRIES * 5 // 8
"""Said to be in use. Unicorn doubles a table of which more than 70 % was used, and shrinks one of which less than 30 % was."""
WINDOW = 1 << 62
"""Said to be the host's time (ns) when counting began."""
_NONE = (1 << 64) - 1
_CALENDAR = 10**18
"""Nanoseconds of the host's clock: a day in 2001."""

VARIABLES = ("original", "fast", "desc", "code", "pages", "used", "window", "marked", "mismatch")


class Variables(ctypes.Structure):
    """What the native code shares with Python; see the assembly source for the meaning of each."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in VARIABLES)
    original: int
    fast: int
    desc: int
    code: int
    pages: int
    used: int
    window: int
    marked: int
    mismatch: int


class Common(ctypes.Structure):
    """CPUTLBCommon (exec/cpu-defs.h of QEMU 5.0.1)."""

    _fields_ = (("dirty", ctypes.c_uint16), ("flushes", ctypes.c_uint64 * 3))
    dirty: int


class Desc(ctypes.Structure):
    """CPUTLBDesc. `window_begin` in nanoseconds of the host's clock."""

    _fields_ = (
        ("large_page_addr", ctypes.c_uint64),
        ("large_page_mask", ctypes.c_uint64),
        ("window_begin", ctypes.c_uint64),
        ("window_max", ctypes.c_uint64),
        ("used", ctypes.c_uint64),
        ("victim", ctypes.c_uint64),
        ("victims", ctypes.c_uint8 * (8 * ENTRY_SIZE)),
        ("victim_iotlb", ctypes.c_uint8 * (8 * 16)),
        ("iotlb", ctypes.c_uint64),
    )
    window_begin: int
    window_max: int
    used: int
    victim: int
    iotlb: int


class Fast(ctypes.Structure):
    """CPUTLBDescFast."""

    _fields_ = (("mask", ctypes.c_uint64), ("table", ctypes.c_uint64))
    mask: int
    table: int

    @property
    def entries(self) -> int:
        """How many the table has, 0 when that is no number of entries."""
        entries = (self.mask >> 6) + 1
        plain = self.mask & 0x3F == 0 and entries & (entries - 1) == 0 and 1 << 6 <= entries <= 1 << 22
        return entries if plain and self.table and not self.table & 7 else 0


class Entry(ctypes.Structure):
    """CPUTLBEntry: linear addresses with flags, or all ones; the physical page; what is added for the host's address."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("read", "write", "code", "paddr", "addend"))
    read: int
    write: int
    code: int
    paddr: int
    addend: int


class SoftTlb:
    """Installs the stand-in for one engine, from power-on to the end.

    `env` is the host address of CPUX86State, `pages` counts the 4 KiB pages of guest-physical memory. `touch(address, fetch)`
    has Unicorn look up a linear address; `flush` empties the soft TLB. `page` is a page of RAM that is mapped to itself at
    this moment, and `host` its host address. Raises NotHere, and then nothing is changed.
    """

    def __init__(
        self, *, env: int, pages: int, touch: Callable[[int, bool], bool], flush: Callable[[], None], page: int, host: int
    ) -> None:
        self._env, self._flush, self._touch = env, flush, touch
        self._common = Common.from_address(env + DESC_OFFSET - COMMON_SIZE)
        self._descs = [Desc.from_address(env + DESC_OFFSET + DESC_SIZE * mode) for mode in range(MMU_MODES)]
        self._fasts = [Fast.from_address(env + FAST_OFFSET + 16 * mode) for mode in range(MMU_MODES)]
        self._slot = ctypes.c_uint64.from_address(env + FILL_OFFSET)
        original = self._look(page, host)
        code = resources.files("efishim_firmware_stubs").joinpath("machine/softtlb_x86_64.bin").read_bytes()
        self._image = private(0x1000, executable=True)
        self._image.write(code)
        fill, at, _ = struct.unpack_from("<3Q", code)
        self._code = private(pages)
        self.variables = variables = Variables.from_buffer(self._image, at)
        variables.original = original
        variables.fast, variables.desc = env + FAST_OFFSET, env + DESC_OFFSET
        variables.code, variables.pages = address_of(self._code), pages
        variables.used, variables.window = USED, WINDOW
        self.fill = address_of(self._image) + fill
        """Host address of what stands in CPUClass.tlb_fill."""
        self._slot.value = self.fill
        try:
            self._resize()
            self._prove(page, host)
        except NotHere:
            self._slot.value = original
            flush()
            raise
        self.forget()

    @property
    def entries(self) -> list[int]:
        """Number of entries of the table of each MMU mode."""
        return [fast.entries for fast in self._fasts]

    def forget(self) -> None:
        """All translations were dropped: no page holds code until an instruction is fetched from it again."""
        if self.variables.marked:
            self._code.madvise(mmap.MADV_DONTNEED)  # it reads as zeroes
            self.variables.marked = 0
            self._flush()

    def _entry(self, mode: int, linear: int) -> Entry:
        fast = self._fasts[mode]
        return Entry.from_address(fast.table + (linear >> 6 & fast.mask))

    def _look(self, page: int, host: int) -> int:
        """Host address of Unicorn's tlb_fill, when everything is where this module expects it. Raises NotHere."""
        function = getattr(uclib, "x86_cpu_tlb_fill_x86_64", None)
        original = ctypes.cast(function, ctypes.c_void_p).value if function else None
        if not original or self._slot.value != original:
            raise NotHere("CPUClass.tlb_fill is elsewhere")
        now = time.time_ns()
        for desc, entries in zip(self._descs, self.entries, strict=True):
            whole = entries and desc.used <= entries and desc.victim < 1 << 20 and desc.iotlb and not desc.iotlb & 7
            if not whole or not _CALENDAR < desc.window_begin < now + _CALENDAR or self._common.dirty >> MMU_MODES:
                raise NotHere("the soft TLB is laid out in another way")
        self._flush()
        if not self._touch(page, False):
            raise NotHere("a page of RAM cannot be looked up")
        for mode, desc in enumerate(self._descs):
            entry = self._entry(mode, page)
            if entry.read == page:
                there = entry.paddr == page and (entry.addend + page) & _NONE == host and entry.code == page
                if there and desc.used == 1 and self._common.dirty == 1 << mode:
                    return original
        raise NotHere("the soft TLB's entries are laid out in another way")

    def _resize(self) -> None:
        """Have Unicorn resize the tables: it doubles one when that was used up."""
        for _ in range(32):
            if all(entries == ENTRIES for entries in self.entries):
                return
            self._common.dirty = (1 << MMU_MODES) - 1
            for desc, entries in zip(self._descs, self.entries, strict=True):
                desc.window_begin = WINDOW
                desc.window_max = entries if entries < ENTRIES else ENTRIES // 2
            self._flush()
        raise NotHere("the soft TLB cannot be resized")

    def _prove(self, page: int, host: int) -> None:
        """Look a page up as data and as code, and see whether its entry becomes what it must. Raises NotHere."""
        self._flush()
        seen = []
        for fetch in (False, True, False):
            if not self._touch(page, fetch):
                raise NotHere("a page of RAM cannot be looked up")
            (found,) = [entry for entry in (self._entry(mode, page) for mode in range(MMU_MODES)) if entry.read == page] or [
                Entry()
            ]
            seen.append((found.write, found.code, (found.addend + page) & _NONE == host))
        as_data, as_code = (page, _NONE, True), (page | NOTDIRTY, page, True)
        if seen != [as_data, as_code, as_code] or self.variables.marked != 1 or self.variables.mismatch:
            raise NotHere("the stand-in for tlb_fill does not do what it must")
