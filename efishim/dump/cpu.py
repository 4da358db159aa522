"""The processor of a dump through the interface of efishim's own, so that the same code decodes both."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.errors import MachineError
from efishim.machine.cpu import GuestFault
from efishim.machine.memory import PAGE, BusError, PhysicalMemory
from efishim.machine.paging import PageFault, Walker

GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr")
CONTROL = ("cr0", "cr2", "cr3", "cr4", "cr8", "efer")
TABLES = ("gdtr.base", "gdtr.limit", "idtr.base", "idtr.limit")
HIDDEN = ("base", "limit", "flags")
FLOATING = {"fcw": 0x37F, "mxcsr": 0x1F80}
"""Not in any dump; as after FNINIT and RESET (SDM volume 3, table 10-1)."""


class DumpCpu:
    """Registers by the names of `machine.cpu.Cpu`, with hidden parts of segments; it cannot be changed."""

    def __init__(self, registers: Mapping[str, int], memory: PhysicalMemory) -> None:
        self._registers = {**FLOATING, **registers}
        self._memory = memory
        self._walker = Walker(memory)

    def get(self, register: str) -> int:
        """Value of a register. Raises KeyError for one that there is not."""
        if register in ("fs_base", "gs_base"):
            return self._registers[f"{register[:2]}.base"]
        return self._registers[register]

    def set(self, register: str, value: int) -> None:
        """Not possible."""
        raise MachineError(f"{register} of a dump is not changed")

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a linear address. Raises GuestFault."""
        out = []
        while size > 0:
            step = min(size, PAGE - address % PAGE)
            try:
                out.append(self._memory.read(self.translate(address), step))
            except BusError as error:
                raise GuestFault(address, write=False) from error
            address, size = address + step, size - step
        return b"".join(out)

    def write(self, address: int, data: bytes) -> None:
        """Not possible."""
        raise MachineError(f"memory at {address:#x} of a dump is not changed")

    def translate(self, address: int, *, write: bool = False) -> int:
        """Physical address of a linear address. Raises GuestFault."""
        cr0, cr3, cr4, efer = (self._registers[name] for name in ("cr0", "cr3", "cr4", "efer"))
        try:
            return self._walker.translate(address, cr0=cr0, cr3=cr3, cr4=cr4, efer=efer, write=write)
        except PageFault as fault:
            raise GuestFault(address, write=write, error=fault.error) from fault
