"""The firmware's code in guest memory: a few bytes per function, with an OUT that traps to the host.

None of it depends on the address it runs at, so it goes on working where SetVirtualAddressMap puts it, and the same
bytes mean the same in 32-bit code. The host recognises a stub by the physical address that RIP translates to.
"""

from __future__ import annotations

TRAP_PORT = 0xE4
"""The port of all stubs: no PC device answers there, and no driver of Linux writes to it."""

STUB_SIZE = 16

OUT = bytes([0xE6, TRAP_PORT])
"""out TRAP_PORT, al"""

RET = b"\xc3"
INT3 = b"\xcc"


def service(number: int) -> bytes:
    """`mov eax, number; out; ret`. The number serves whoever reads a trace; RAX is the callee's to change."""
    return b"\xb8" + number.to_bytes(4, "little") + OUT + RET


RETURN = OUT
"""Where functions of the guest that firmware called return to. RAX is theirs, so nothing is loaded."""

IDLE = b"\xf3\x90" + OUT
"""`pause; out`: lets the machine look around (interrupts, limits) while firmware waits."""

REX_W = b"\x48"
"""What makes the instructions below those of 64-bit code."""

FXSAVE = b"\x0f\xae\x04\x24"
"""fxsave [esp]"""

FXRSTOR = b"\x0f\xae\x0c\x24"
"""fxrstor [esp]"""

FXSAVE_SIZE = 512


def interrupt_entry(width: int) -> bytes:
    """`fxsave [rsp]; out`: an event interrupts the guest; the host keeps the general registers, this the others. `width` is
    that of pointers: 8 for 64-bit code.
    """
    return (REX_W if width == 8 else b"") + FXSAVE + OUT


def interrupt_exit(width: int) -> bytes:
    """`fxrstor [rsp]; out`: back to the interrupted code."""
    return (REX_W if width == 8 else b"") + FXRSTOR + OUT


def exception(vector: int, at: int, common: int) -> bytes:
    """IDT gate `vector` at address `at`: push the vector, and a zero where the processor pushes no error code."""
    code = b"" if vector in WITH_ERROR_CODE else b"\x6a\x00"  # push 0
    code += b"\x68" + vector.to_bytes(4, "little")  # push vector
    distance = common - (at + len(code) + 5)
    return code + b"\xe9" + distance.to_bytes(4, "little", signed=True)  # jmp common


WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17, 21, 29, 30})
"""Vectors with an error code (Intel SDM volume 3, table 6-1; AMD adds #VC 29 and #SX 30)."""


def exception_common(width: int) -> bytes:
    """`out; add rsp, 2 * width; iret`"""
    prefix = REX_W if width == 8 else b""
    return OUT + prefix + b"\x83\xc4" + bytes((2 * width,)) + prefix + b"\xcf"


EXCEPTION_NAMES = (
    *("#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS", "#GP", "#PF", ""),
    *("#MF", "#AC", "#MC", "#XM", "#VE", "#CP"),
)


def exception_name(vector: int) -> str:
    """`#PF` and the like; `vector 0x68` for the others."""
    name = EXCEPTION_NAMES[vector] if vector < len(EXCEPTION_NAMES) else ""
    return name or f"vector {vector:#x}"
