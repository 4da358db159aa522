"""Floating-point and vector registers through Unicorn's interface, as numbers."""

from __future__ import annotations

from typing import Any

from unicorn import x86_const as x86

FLOATING_REGISTERS = tuple(f"st{n}" for n in range(8))
"""ST(0) to ST(7): 64 bits of mantissa, and above them sign and exponent in 16."""
VECTOR_REGISTERS = tuple(f"xmm{n}" for n in range(16))
_STATUS = {"fsw": x86.UC_X86_REG_FPSW, "ftw": x86.UC_X86_REG_FPTAG}
NAMES = frozenset({*_STATUS, *FLOATING_REGISTERS, *VECTOR_REGISTERS})
_NUMBERS = {name: getattr(x86, f"UC_X86_REG_{name.upper()}") for name in (*FLOATING_REGISTERS, *VECTOR_REGISTERS)}


def get(uc: Any, name: str) -> int:
    """The value of one of them. Raises KeyError."""
    if name in _STATUS:
        word: int = uc.reg_read(_STATUS[name])
        return word & 0xFFFF
    value = uc.reg_read(_NUMBERS[name])
    if isinstance(value, tuple):
        mantissa, exponent = value
        return int(mantissa) | int(exponent) << 64
    return int(value)


def put(uc: Any, name: str, value: int) -> None:
    """Change a vector register. Raises KeyError for any other."""
    if name not in VECTOR_REGISTERS:
        raise KeyError(name)
    uc.reg_write(_NUMBERS[name], value)
