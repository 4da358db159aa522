"""Blocks that count themselves (docs/adr/0015-blocks-that-count-themselves.md).

A translated block begins with a call to the native block hook. When the hook is called for the first time from a block, it
replaces that call in the translation by a few instructions which do what it does (`host_x86_64.asm`). Here is decided whether
that is possible with this build of Unicorn and in this process, by doing it with one block before the guest runs.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from unicorn.unicorn_py3.unicorn import uclib

from efishim.machine.native import NEVER, BlockFlag, Cause, NativeHooks
from efishim.machine.shortcuts import NotHere

BLOCK = b"\x90\xf4"
"""NOP; HLT."""
_LOW = 1 << 31


def begin(native: NativeHooks, handle: int, address: int, run: Callable[[], object]) -> None:
    """Let blocks of the engine with this handle be rewritten from now on.

    `BLOCK` stands at `address`, is not translated yet, and `run` executes it; `native` knows from a block before where
    translations are. Raises NotHere, and then no block will be. Either way the translations and the block table must
    be dropped, and the count set to 0.
    """
    state = native.state
    if native.state_address >= _LOW or state.table >= _LOW:
        raise NotHere("the host has no memory left below 2 GiB")
    check = getattr(uclib, "helper_check_exit_request_x86_64", None)
    if check is None:
        raise NotHere("the check for a stop request has no name")
    if not _writable(state.host_pc):
        raise NotHere("translations cannot be written to")
    state.uc, state.check_exit = handle, ctypes.cast(check, ctypes.c_void_p).value or 0
    state.rewrite = 1
    try:
        _prove(native, handle, address, run)
    except NotHere:
        state.rewrite = 0
        raise


def _prove(native: NativeHooks, handle: int, address: int, run: Callable[[], object]) -> None:
    state = native.state
    state.insns = 0
    state.deadline = state.limit = NEVER
    native.learn(handle, address, len(BLOCK), len(BLOCK))
    for times in (1, 2):
        run()
        # Were the hook called the second time, it would refuse what it does not expect any more.
        if (state.rewritten, state.refused) != (1, 0):
            raise NotHere("blocks begin in another way")
        if state.insns != times * len(BLOCK) or state.last_pc != address or native.entered(address) != times:
            raise NotHere("a block does not count itself")
    for stop in (Cause.DEADLINE, Cause.FLAGGED):
        if stop is Cause.DEADLINE:
            state.deadline = state.limit = state.insns
        else:
            state.deadline = state.limit = NEVER
            native.mark(address, BlockFlag.WATCHED)
        state.cause = Cause.NONE
        run()
        if state.cause != stop or state.insns != 2 * len(BLOCK) or native.entered(address) != 2:
            raise NotHere("a block that counts itself does not stop")


def _writable(address: int) -> bool:
    """May this process write to this byte of its own? The kernel is asked to store there what stands there."""
    libc = ctypes.CDLL(None)
    reading, writing = os.pipe()
    try:
        os.write(writing, ctypes.string_at(address, 1))
        return int(libc.read(ctypes.c_int(reading), ctypes.c_void_p(address), ctypes.c_size_t(1))) == 1
    finally:
        os.close(reading)
        os.close(writing)
