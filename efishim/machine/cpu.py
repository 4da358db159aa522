"""What the rooms below may ask of the processor and the machine around it, without knowing how either is emulated.

`Cpu` and `Board` are protocols, so that devices and firmware can be tested against a plain object; `Machine`
(machine.py) is the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from efishim.machine.bus import Bus
from efishim.machine.clock import Clock
from efishim.machine.memory import PhysicalMemory

MsrValue = int
CpuidResult = tuple[int, int, int, int]


class GuestFault(Exception):
    """A linear address that the guest's own tables do not map for this access."""

    def __init__(self, address: int, *, write: bool) -> None:
        super().__init__(f"{'write to' if write else 'read from'} {address:#x} is not mapped")
        self.address = address
        self.write = write


class Cpu(Protocol):
    """Registers by name and memory by linear address, usable while the guest does not run (traps, faults, stops).

    Names: rax..r15, rip, eflags, cr0 cr2 cr3 cr4 cr8 efer, fcw mxcsr, cs ds es fs gs ss (selectors), fs_base gs_base,
    gdtr.base gdtr.limit idtr.base idtr.limit, tr, ldtr.
    """

    def get(self, register: str) -> int:
        """Value of a register."""

    def set(self, register: str, value: int) -> None:
        """Change a register."""

    def read(self, address: int, size: int) -> bytes:
        """Bytes at a linear address through the guest's page tables. Raises GuestFault."""

    def write(self, address: int, data: bytes) -> None:
        """Store at a linear address through the guest's page tables, honouring write protection. Raises GuestFault."""

    def translate(self, address: int, *, write: bool = False) -> int:
        """Physical address of a linear address. Raises GuestFault."""


class InterruptController(Protocol):
    """What the processor asks when it could take an interrupt. The platform gives one to `Board.interrupts`."""

    def pending(self) -> bool:
        """Is there a vector that the controller would deliver now (priority and masks considered, EFLAGS.IF not)?"""

    def acknowledge(self) -> int:
        """Take the vector (0 to 255); an interrupt that vanished gives the controller's spurious vector."""


class MsrModel(Protocol):
    """Model-specific registers that are not the emulated CPU's own. Returning None / False means: raise #GP."""

    def read(self, msr: int) -> int | None:
        """Value of an MSR, or None when it does not exist."""

    def write(self, msr: int, value: int) -> bool:
        """Store; False when the MSR does not exist or refuses the value."""


class Board(Protocol):
    """The machine as devices, platforms and firmware see it while they are put together and while they run."""

    memory: PhysicalMemory
    ports: Bus
    mmio: Bus
    clock: Clock
    cpu: Cpu
    interrupts: InterruptController | None
    msrs: MsrModel | None
    cpuid: Callable[[int, int], CpuidResult] | None
    tsc_hz: int

    def interrupt_changed(self) -> None:
        """Devices call this when a line or a pending vector may have changed, so that the processor looks again."""

    def trap(self, port: int, handler: Callable[[int], None]) -> None:
        """Call `handler(AL)` when ring 0 executes `out imm8, al` to `port` (0xE4, the only one).

        The handler runs while the guest is stopped; RIP is the address after the OUT. It may change any register
        and memory.
        """

    def stop(self, reason: str) -> None:
        """End the run after this instruction; `reason` is what the record will say (`poweroff`, `reset`, ...)."""

    def flush_code(self, address: int, size: int) -> None:
        """Forget translations of a physical range after the host wrote to code there."""

    def now(self) -> int:
        """Virtual nanoseconds at this very moment (the clock brought up to date with the instructions executed)."""
