"""Where instructions begin.

The disassembler is loaded when first needed, and its library without its Python package, which takes longer to import than
everything that is asked of it in a boot. Of the C interface only five functions are used, whose arguments have been
the same in all releases of the library's fifth version; with any other the package is used.
"""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_VERSION = 5
_ARCH_X86 = 3
_MODES = {16: 1 << 1, 32: 1 << 2, 64: 1 << 3}
_OPT_SKIPDATA, _ON = 5, 3


class _Library:
    """Capstone's shared library and, for each mode, a handle with room for one instruction."""

    def __init__(self, path: Path) -> None:
        self._lib = lib = ctypes.CDLL(str(path))
        lib.cs_open.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_size_t)]
        lib.cs_option.argtypes = [ctypes.c_size_t, ctypes.c_int, ctypes.c_size_t]
        lib.cs_malloc.argtypes, lib.cs_malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        lib.cs_disasm_iter.argtypes = [ctypes.c_size_t, *(ctypes.c_void_p,) * 4]
        lib.cs_disasm_iter.restype = ctypes.c_bool
        self._handles: dict[int, tuple[ctypes.c_size_t, ctypes.c_void_p]] = {}
        self._busy = threading.Lock()
        """There is one instruction for each mode, and machines may run in several threads."""

    @property
    def fits(self) -> bool:
        """Is it the version whose interface is known here, and does it open?"""
        return self._lib.cs_version(None, None) >> 8 == _VERSION and all(self._handle(mode) for mode in _MODES)

    def _handle(self, mode: int) -> tuple[ctypes.c_size_t, ctypes.c_void_p] | None:
        if mode not in self._handles:
            handle = ctypes.c_size_t()
            if self._lib.cs_open(_ARCH_X86, _MODES[mode], ctypes.byref(handle)):
                return None
            if self._lib.cs_option(handle, _OPT_SKIPDATA, _ON):
                return None
            self._handles[mode] = handle, ctypes.c_void_p(self._lib.cs_malloc(handle))
        return self._handles[mode]

    def starts(self, code: bytes, address: int, mode: int) -> list[int]:
        with self._busy:
            return self._starts(code, address, *self._handles[mode])

    def _starts(self, code: bytes, address: int, handle: ctypes.c_size_t, instruction: ctypes.c_void_p) -> list[int]:
        buffer = ctypes.create_string_buffer(code, len(code))
        at, left, where = ctypes.c_void_p(ctypes.addressof(buffer)), ctypes.c_size_t(len(code)), ctypes.c_uint64(address)
        places = ctypes.byref(at), ctypes.byref(left), ctypes.byref(where)
        found: list[int] = []
        before = where.value
        while left.value and self._lib.cs_disasm_iter(handle, *places, instruction):
            found.append(before)
            before = where.value
        return found


@cache
def _library() -> _Library | None:
    """The library of the installed package; None when it is not the one we know."""
    spec = find_spec("capstone")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in sorted(Path(folder, "lib").glob("libcapstone.so*")):
            library = _Library(path)
            return library if library.fits else None
    return None


def starts(code: bytes, address: int, mode: int) -> list[int]:
    """Addresses of the instructions in `code`, which begins with one. `mode` is 16, 32 or 64 (bits)."""
    library = _library()
    return with_package(code, address, mode) if library is None else library.starts(code, address, mode)


def with_package(code: bytes, address: int, mode: int) -> list[int]:
    """The same through the Python package."""
    import capstone  # noqa: PLC0415 - see above

    flag = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[mode]
    engine = capstone.Cs(capstone.CS_ARCH_X86, flag)  # type: ignore[no-untyped-call]
    engine.skipdata = True
    return [where for where, *_ in engine.disasm_lite(code, address)]  # type: ignore[no-untyped-call]


def shown(code: bytes, address: int, mode: int) -> list[tuple[int, int, str]]:
    """(address, bytes, text) of the instructions in `code`, in Intel's syntax. For people, of whom few ask: through the Python
    package.
    """
    import capstone  # noqa: PLC0415 - see above

    flag = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[mode]
    engine = capstone.Cs(capstone.CS_ARCH_X86, flag)  # type: ignore[no-untyped-call]
    lines = engine.disasm_lite(code, address)  # type: ignore[no-untyped-call]
    return [(where, size, f"{name} {operands}".strip()) for where, size, name, operands in lines]
