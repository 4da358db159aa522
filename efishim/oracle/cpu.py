"""Presents QEMU's processor through the interface of efishim's own, so that the same code decodes both."""

from __future__ import annotations

import re
from functools import cached_property

from efishim.errors import MachineError
from efishim.machine.cpu import GuestFault
from efishim.oracle.channels import OracleError
from efishim.oracle.gdb import Gdb
from efishim.oracle.qmp import Qmp

_PLAIN = re.compile(r"\b(R[A-D]X|R[SD]I|R[SB]P|R\d+|RIP|RFL|E[A-D]X|E[SD]I|E[SB]P|EIP|EFL|CR\d|EFER) *=([0-9a-f]+)")
_SEGMENT = re.compile(r"^(ES|CS|SS|DS|FS|GS|LDT|TR) *=([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE)
_TABLE = re.compile(r"^(GDT|IDT) *= *([0-9a-f]+) ([0-9a-f]+)", re.MULTILINE)
_NAMES = {"rfl": "eflags", "efl": "eflags", "eip": "rip"}


def parse_registers(text: str) -> dict[str, int]:
    """The monitor's `info registers` under the names of efishim.machine.cpu.Cpu, hidden parts of segments as
    `cs.base`, `cs.limit`, `cs.flags` (the descriptor's upper half). Raises OracleError when parts are missing.
    """
    values: dict[str, int] = {}
    for name, value in _PLAIN.findall(text):
        low = name.lower()
        low = _NAMES.get(low, "r" + low[1:] if low[0] == "e" and low != "efer" else low)
        values[low] = int(value, 16)
    for name, selector, base, limit, flags in _SEGMENT.findall(text):
        low = "ldtr" if name == "LDT" else name.lower()
        values[low] = int(selector, 16)
        values |= {f"{low}.base": int(base, 16), f"{low}.limit": int(limit, 16), f"{low}.flags": int(flags, 16)}
    for name, base, limit in _TABLE.findall(text):
        values |= {f"{name.lower()}r.base": int(base, 16), f"{name.lower()}r.limit": int(limit, 16)}
    missing = {"rax", "rip", "eflags", "cr0", "cr3", "cr4", "efer", "cs.flags", "tr", "gdtr.base", "idtr.limit"} - set(values)
    if missing:
        raise OracleError(f"QEMU's monitor does not show {', '.join(sorted(missing))}")
    return values


class QemuCpu:
    """The processor as it is when it is first asked for a register, and memory by linear address. It cannot be changed."""

    def __init__(self, gdb: Gdb, qmp: Qmp) -> None:
        self._gdb = gdb
        self._qmp = qmp

    @cached_property
    def _values(self) -> dict[str, int]:
        values = self._gdb.registers() | parse_registers(self._qmp.monitor("info registers"))
        return values | {f"{name}_base": values[f"{name}.base"] for name in ("fs", "gs")}

    def get(self, register: str) -> int:
        """Value of a register. Raises KeyError for one that there is not."""
        return self._values[register]

    def set(self, register: str, value: int) -> None:
        """Not possible: real firmware is looked at, not steered."""
        raise MachineError(f"{register} of the machine that is the judge is not changed")

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a linear address. Raises GuestFault."""
        return self._gdb.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Not possible."""
        raise MachineError(f"memory at {address:#x} of the machine that is the judge is not changed")

    def translate(self, address: int, *, write: bool = False) -> int:
        """Not offered: nothing that decodes a stopped guest needs it."""
        raise GuestFault(address, write=write)
