"""Watchpoints of a debugger: the guest stops behind the instruction that read or wrote a range of linear addresses.

Unicorn's hooks for loads and stores are bounded to the range, but send every access of the guest through its slow path, so they
are there only while something is watched. The hook is called in the middle of an instruction, where the guest cannot stop;
`efishim_firmware_stubs/machine/watch_x86_64.asm` stops it before the next one. What the host reads and writes for the
guest (firmware, page walks, delivery of interrupts) is not seen.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from unicorn import unicorn_const as uc_const
from unicorn.unicorn_py3.unicorn import uclib

from efishim.errors import MachineError
from efishim.machine import callbacks
from efishim.machine.native import address_of, private

_MEMORY = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_int, ctypes.c_int64, ctypes.c_void_p)
_EVERYWHERE = (1, 0)


@dataclass(frozen=True)
class Watchpoint:
    """`size` bytes from the linear address `start`, and which accesses to any of them count."""

    start: int
    size: int
    read: bool
    write: bool

    def meets(self, address: int, size: int, *, write: bool) -> bool:
        """Does an access touch it?"""
        wanted = self.write if write else self.read
        return wanted and self.start < address + size and address < self.start + self.size


@dataclass(frozen=True)
class WatchHit:
    """What was met first: a watchpoint, by an access to a linear address."""

    watchpoint: Watchpoint
    address: int
    write: bool


class _State(ctypes.Structure):
    _fields_ = (("hit", ctypes.c_uint64), ("callback", ctypes.c_uint64))
    hit: int
    callback: int


class Watchpoints:
    """Those of one engine. `handle` is the engine's, `reached(address)` is called before the instruction behind an access."""

    def __init__(self, handle: Any, reached: Callable[[int], None]) -> None:
        self._handle = handle
        self._points: tuple[Watchpoint, ...] = ()
        self._hooks: list[ctypes.c_size_t] = []
        self._hit: WatchHit | None = None
        self._code = private(0x1000, executable=True)
        self._code.write(resources.files("efishim_firmware_stubs").joinpath("machine/watch_x86_64.bin").read_bytes())
        self._state = _State()
        self._reached = callbacks.CODE(lambda _uc, address, _size, _data: reached(address))
        self._state.callback = ctypes.cast(self._reached, ctypes.c_void_p).value or 0
        self._access = _MEMORY(self._accessed)

    def __bool__(self) -> bool:
        return bool(self._points)

    def set(self, points: Iterable[Watchpoint]) -> None:
        """Watch these and nothing else. The guest is stopped outside of the emulation, and all of its translations are to be
        dropped afterwards: hooks are part of them. Raises MachineError.
        """
        self._points = tuple(points)
        self._hit, self._state.hit = None, 0
        for hook in self._hooks:
            uclib.uc_hook_del(self._handle, hook)
        self._hooks = []
        for point in self._points:
            kinds = (uc_const.UC_HOOK_MEM_READ if point.read else 0) | (uc_const.UC_HOOK_MEM_WRITE if point.write else 0)
            # An access may begin in front of the range.
            begin = max(point.start - 63, 0)
            self._add(kinds, ctypes.cast(self._access, ctypes.c_void_p).value or 0, 0, (begin, point.start + point.size - 1))
        if self._points:
            self._add(uc_const.UC_HOOK_CODE, address_of(self._code), ctypes.addressof(self._state), _EVERYWHERE)

    def take(self) -> WatchHit | None:
        """What was met since the last time."""
        hit, self._hit, self._state.hit = self._hit, None, 0
        return hit

    def _accessed(self, _uc: int, kind: int, address: int, size: int, _value: int, _data: int) -> None:
        if self._hit is not None:
            return
        write = kind in (uc_const.UC_MEM_WRITE, uc_const.UC_MEM_WRITE_PROT)
        for point in self._points:
            if point.meets(address, size, write=write):
                self._hit, self._state.hit = WatchHit(point, address, write), 1
                return

    def _add(self, kind: int, function: int, data: int, where: tuple[int, int]) -> None:
        hook = ctypes.c_size_t()
        status = uclib.uc_hook_add(
            self._handle,
            ctypes.byref(hook),
            kind,
            ctypes.c_void_p(function),
            ctypes.c_void_p(data),
            ctypes.c_uint64(where[0]),
            ctypes.c_uint64(where[1]),
        )
        if status:
            raise MachineError(f"Unicorn refuses a watchpoint (error {status})")
        self._hooks.append(hook)
