"""Finds the instructions that Unicorn would not execute deterministically, and which the machine executes itself.

Unicorn offers instruction hooks for IN, OUT, SYSCALL, SYSENTER and CPUID only. The others are found in the bytes of each
new block before it runs, and get a hook on their one address. A byte pattern inside another instruction costs a hook that
never fires.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

TRAP_PORT = 0xE4
"""The port whose `out imm8, al` calls the host: no PC device answers there."""

_PORT_OPCODES = re.compile(rb"[\x6c-\x6f\xe4-\xe7\xec-\xef]")
_LEGACY = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3")
_REX, _LOCK = 0x40, 0xF0
LONGEST_PREFIX = 13
"""An instruction has 15 bytes at most, two of them its opcode."""
IN_DX = -1
"""Instead of a port number: the port is in DX."""

PATTERN = re.compile(rb"(?=(\x0f(?:[\x30-\x32]|\x01[\xc1\xd9\xf9]|\xc7[\xf0-\xff])|\xf3\x90|\xe6\xe4))", re.DOTALL)
"""Matches may overlap: nothing here says where instructions begin."""


class Op(Enum):
    """What stands at a site."""

    RDTSC = "rdtsc"
    RDTSCP = "rdtscp"
    RDMSR = "rdmsr"
    WRMSR = "wrmsr"
    RDRAND = "rdrand"
    RDSEED = "rdseed"
    RDPID = "rdpid"
    PAUSE = "pause"
    VMCALL = "vmcall"
    VMMCALL = "vmmcall"
    TRAP = "trap"
    PORT = "port"


_FIXED = {
    b"\x0f\x30": Op.WRMSR,
    b"\x0f\x31": Op.RDTSC,
    b"\x0f\x32": Op.RDMSR,
    b"\x0f\x01\xf9": Op.RDTSCP,
    b"\x0f\x01\xc1": Op.VMCALL,
    b"\x0f\x01\xd9": Op.VMMCALL,
    b"\xf3\x90": Op.PAUSE,
    b"\xe6\xe4": Op.TRAP,
}


@dataclass(frozen=True)
class Intercept:
    """One instruction: its linear address, its length in bytes, and for RDRAND/RDSEED/RDPID register and operand size in
    bits; for PORT `register` is the port or `IN_DX`."""

    address: int
    length: int
    op: Op
    register: int = 0
    bits: int = 32


def _starts(code: bytes, at: int, mode: int) -> Iterator[int]:
    """Where the instruction with its opcode at `at` may begin: there, or at any prefix in front of it."""
    yield at
    for start in range(at - 1, max(at - LONGEST_PREFIX, 0) - 1, -1):
        if code[start] not in _LEGACY and not (mode == 64 and code[start] & 0xF0 == _REX):
            return
        yield start


def _random(address: int, code: bytes, start: int, at: int, mode: int) -> Intercept | None:
    """RDRAND, RDSEED or RDPID at `start` with its opcode at `at`, or None when the prefixes make it something else."""
    prefixes, modrm = code[start:at], code[at + 2]
    rex = prefixes[-1] if mode == 64 and prefixes and prefixes[-1] & 0xF0 == _REX else 0
    seed = modrm & 0x38 == 0x38
    repeated = b"\xf2" in prefixes or b"\xf3" in prefixes
    if repeated and not (seed and b"\xf3" in prefixes):
        return None
    register = (modrm & 7) | (rex & 1) << 3
    if repeated:
        return Intercept(address + start, at + 3 - start, Op.RDPID, register, 64 if mode == 64 else 32)
    bits = 64 if rex & 8 else 16 if (b"\x66" in prefixes) != (mode == 16) else 32
    return Intercept(address + start, at + 3 - start, Op.RDSEED if seed else Op.RDRAND, register, bits)


def find_intercepts(address: int, code: bytes, mode: int) -> list[Intercept]:
    """Every site in a block's bytes; `mode` is 16, 32 or 64.

    What looks like prefixes may end the instruction before, so there is one site for each possible start; only the one
    that is executed fires. LOCK is not among the prefixes: with it they are undefined.
    """
    found: list[Intercept] = []
    for match in PATTERN.finditer(code):
        at, size = match.start(), len(match[1])
        op = _FIXED.get(match[1])
        if op is Op.PAUSE or op is Op.TRAP:
            found.append(Intercept(address + at, size, op))
            continue
        for start in _starts(code, at, mode):
            if op is not None:
                found.append(Intercept(address + start, at + size - start, op))
            elif (site := _random(address, code, start, at, mode)) is not None:
                found.append(site)
    return found


def find_port_accesses(address: int, code: bytes, mode: int) -> list[Intercept]:
    """Every IN, OUT, INS and OUTS in a block of ring 3, where Unicorn leaves out the check of IOPL and bitmap.

    `mode` is 16, 32 or 64. Their opcodes are frequent bytes, so they are told apart by a disassembler.
    """
    if not _PORT_OPCODES.search(code):
        return []
    import capstone  # noqa: PLC0415 - 20 ms that a run without ring 3 does not need

    flag = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[mode]
    engine = capstone.Cs(capstone.CS_ARCH_X86, flag)  # type: ignore[no-untyped-call]
    engine.skipdata = True
    found: list[Intercept] = []
    for where, length, name, _operands in engine.disasm_lite(code, address):  # type: ignore[no-untyped-call]
        raw = code[where - address : where - address + length]
        at = 0
        while at < length - 1 and (raw[at] in _LEGACY or raw[at] == _LOCK or (mode == 64 and raw[at] & 0xF0 == _REX)):
            at += 1
        opcode = raw[at]
        if name == ".byte" or not _PORT_OPCODES.match(raw, at):
            continue
        bits = 8 if not opcode & 1 else 16 if (b"\x66" in raw[:at]) != (mode == 16) else 32
        port = raw[at + 1] if opcode & 0xFC == 0xE4 else IN_DX
        found.append(Intercept(where, length, Op.PORT, port, bits))
    return found
