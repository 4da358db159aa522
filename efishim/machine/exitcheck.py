"""Omits Unicorn's check for a stop request after every load and store.

Unicorn calls a helper after each memory access of translated code to see whether a hook asked to stop; every block has such
a check at its start anyway. The checks within blocks cost about a third of a boot. Unicorn can leave them out, but only does so
for ARM's IT blocks (`uc_struct.no_exit_request`). This module finds that flag and sets it while ordinary blocks are translated;
blocks with one of our own instructions are translated with the checks, because those hooks stop in the middle.

The flag has no interface. It is found by the value of `exits[0]`, which is the `until` of the last `uc_emu_start`, and
accepted only if the fields between (page size, its mask, host page sizes) hold what they must. Otherwise everything works,
slower.
"""

from __future__ import annotations

import ctypes
import struct

MARK = 0x5AFE_0E1F_1C7E_D000
"""Given as `until` once, to be found again in the structure."""
_EXITS = 64
_FIELDS = struct.Struct("<Q8xQIIQIIQQiiQQ4B")
# ctl_exits, thumb + padding, mapped_blocks, count, cache index, thread data, page size, page mask, host page size,
# real host page size, icache line, context content, context size + padding, next_pc, four bools
_SCAN_LIMIT = 0x8000


def find_flag(handle: int) -> ctypes.c_uint8 | None:
    """`no_exit_request` of the engine whose handle is given, or None when this build looks different.

    The last `uc_emu_start` must have had `MARK` as its `until`.
    """
    libc = ctypes.CDLL(None)
    usable = getattr(libc, "malloc_usable_size", None)
    if usable is None:
        return None
    usable.argtypes, usable.restype = [ctypes.c_void_p], ctypes.c_size_t
    size = min(usable(handle), _SCAN_LIMIT)
    raw = bytes((ctypes.c_char * size).from_address(handle))
    mark = struct.pack("<Q", MARK)
    at = raw.find(mark)
    if at < 0 or at % 8 or raw.find(mark, at + 1) >= 0:
        return None
    fields_at = at + 8 * _EXITS
    if fields_at + _FIELDS.size > size:
        return None
    fields = _FIELDS.unpack_from(raw, fields_at)
    page_size, page_mask, host_page, real_page = fields[5:9]
    flags = fields[-4:]
    if (page_size, page_mask) != (0x1000, 0xFFF) or host_page != real_page or host_page & (host_page - 1):
        return None
    if any(flag not in (0, 1) for flag in flags) or flags[2] or not flags[3]:
        return None
    return ctypes.c_uint8.from_address(handle + fields_at + _FIELDS.size - 2)
