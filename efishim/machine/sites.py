"""Instructions that Unicorn executes in its own way and that a deterministic machine must execute in ours.

Unicorn offers instruction hooks for IN, OUT, SYSCALL, SYSENTER and CPUID only. The others are found in the bytes of each
new block before it runs, and get a hook on their one address. A byte pattern inside another instruction costs a hook that
never fires.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

TRAP_PORT = 0xE4
"""The port whose `out imm8, al` calls the host: no PC device answers there."""

_PORT_OPCODES = re.compile(rb"[\x6c-\x6f\xe4-\xe7\xec-\xef]")
_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf0\xf2\xf3" + bytes(range(0x40, 0x50)))
IN_DX = -1
"""Instead of a port number: the port is in DX."""

PATTERN = re.compile(rb"\x0f(?:[\x30-\x32]|\x01\xf9|\xc7[\xf0-\xff])|\xf3\x90|\xe6\xe4", re.DOTALL)


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
    TRAP = "trap"
    PORT = "port"


@dataclass(frozen=True)
class Site:
    """One instruction: its linear address, its length in bytes, and for RDRAND/RDSEED/RDPID register and operand size in
    bits; for PORT `register` is the port or `IN_DX`."""

    address: int
    length: int
    op: Op
    register: int = 0
    bits: int = 32


def decode_site(address: int, code: bytes, at: int) -> list[Site]:
    """The sites that the bytes at `code[at:]` can be, one for each possible start (prefixes may precede).

    `code` should reach back to the start of the block. Prefix bytes 66, F2, F3 and REX are looked for backwards.
    """
    if code[at] == 0xF3:
        return [Site(address + at, 2, Op.PAUSE)]
    if code[at] == 0xE6:
        return [Site(address + at, 2, Op.TRAP)]
    second = code[at + 1]
    if second in (0x30, 0x31, 0x32):
        op = {0x30: Op.WRMSR, 0x31: Op.RDTSC, 0x32: Op.RDMSR}[second]
        return [Site(address + at, 2, op)]
    if second == 0x01:
        return [Site(address + at, 3, Op.RDTSCP)]
    modrm = code[at + 2]
    start, rex, wide16, repeat = at, 0, False, False
    if start > 0 and code[start - 1] & 0xF0 == 0x40:
        start -= 1
        rex = code[start]
    while start > 0 and code[start - 1] in (0x66, 0xF2, 0xF3):
        start -= 1
        wide16 |= code[start] == 0x66
        repeat |= code[start] == 0xF3
    op = Op.RDRAND if modrm & 0x38 == 0x30 else Op.RDPID if repeat else Op.RDSEED
    register = (modrm & 7) | (8 if rex & 1 else 0)
    bits = 64 if rex & 8 or op is Op.RDPID else 16 if wide16 else 32
    sites = [Site(address + start, at + 3 - start, op, register, bits)]
    if start != at:
        # What looked like a prefix may end the instruction before; only the start that is executed fires.
        sites.append(Site(address + at, 3, op, modrm & 7, 32))
    return sites


def find_sites(address: int, code: bytes) -> list[Site]:
    """Every site in a block's bytes."""
    found: list[Site] = []
    for match in PATTERN.finditer(code):
        found.extend(decode_site(address, code, match.start()))
    return found


def find_port_accesses(address: int, code: bytes, mode: int) -> list[Site]:
    """Every IN, OUT, INS and OUTS in a block of ring 3, where Unicorn leaves out the check of IOPL and bitmap.

    `mode` is 16, 32 or 64. Their opcodes are frequent bytes, so they are told apart by a disassembler.
    """
    if not _PORT_OPCODES.search(code):
        return []
    import capstone  # noqa: PLC0415 - 20 ms that a run without ring 3 does not need

    flag = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[mode]
    engine = capstone.Cs(capstone.CS_ARCH_X86, flag)  # type: ignore[no-untyped-call]
    engine.skipdata = True
    found: list[Site] = []
    for where, length, _name, _operands in engine.disasm_lite(code, address):  # type: ignore[no-untyped-call]
        raw = code[where - address : where - address + length]
        at = 0
        while at < length - 1 and raw[at] in _PREFIXES and (mode == 64 or raw[at] & 0xF0 != 0x40):
            at += 1
        opcode = raw[at]
        if not _PORT_OPCODES.match(raw, at):
            continue
        bits = 8 if not opcode & 1 else 16 if (b"\x66" in raw[:at]) != (mode == 16) else 32
        port = raw[at + 1] if opcode & 0xFC == 0xE4 else IN_DX
        found.append(Site(where, length, Op.PORT, port, bits))
    return found
