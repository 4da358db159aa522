"""The interface of processor and machine for other packages, independent of how they are emulated.

`Cpu` and `Board` are protocols, so that devices and firmware can be tested against a plain object; `Machine`
(machine.py) is the real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from efishim.machine.bus import Bus
from efishim.machine.clock import Clock
from efishim.machine.memory import PhysicalMemory
from efishim.wire.x86 import PF_W

MsrValue = int
CpuidResult = tuple[int, int, int, int]


class GuestFault(Exception):
    """A linear address that the guest's own tables do not map for this access. `error` is the error code of the page fault
    that it is for the guest; left out, that of a page that is not present.
    """

    def __init__(self, address: int, *, write: bool, error: int | None = None) -> None:
        super().__init__(f"{'write to' if write else 'read from'} {address:#x} is not mapped")
        self.address = address
        self.write = write
        self.error = error if error is not None else PF_W if write else 0


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


class BoardCpu(Cpu, Protocol):
    """The processor of a board: its segment registers can be loaded too, and it says in which mode it executes."""

    def load_segment(self, register: str, selector: int, *, base: int, limit: int, flags: int) -> None:
        """Load a segment register with its hidden part: `limit` in bytes, `flags` the second word of the descriptor."""

    def sync(self, cpl: int | None = None) -> None:
        """All segments are loaded; `cpl` is the privilege level from now on, left out that of before."""

    @property
    def mode(self) -> int:
        """16, 32 or 64: the size of operands in the code segment."""


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
    cpu: BoardCpu
    interrupts: InterruptController | None
    msrs: MsrModel | None
    cpuid: Callable[[int, int], CpuidResult] | None
    tsc_hz: int
    hypercall: Callable[[], int] | None
    """Who answers VMCALL and VMMCALL; without one they raise #UD. The guest is stopped behind the instruction, and the handler
    may change any register and memory. It gives what the ledger shall call it: number << 32 | operation."""
    dead_halt: str
    """Why the run ends when the only processor halts with interrupts off: `halted`, unless the platform powers it off then."""

    def interrupt_changed(self) -> None:
        """Devices call this when a line or a pending vector may have changed, so that the processor looks again."""

    def non_maskable_interrupt(self) -> None:
        """Deliver an NMI before the next instruction, or when the handler of the one before it has returned."""

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

    def skip_to(self, when: int) -> None:
        """Let time pass to `when` (ns) without executing, as firmware does that waits."""

    def device_access(self, ns: int) -> None:
        """The guest waits for a device behind a slow bus. For memory-mapped devices; port accesses wait anyway."""

    def tsc(self) -> int:
        """The time stamp counter at this very moment, without the costs of reading it by RDTSC."""

    def afterwards(self, action: Callable[[], None]) -> None:
        """Call `action()` before the next instruction: for what must not be done while one is being executed, such as
        changing code.
        """

    def page_fault(self, address: int, *, error: int) -> None:
        """Deliver a page fault with this error code (`GuestFault.error`), as of the instruction at RIP: what firmware does
        for its own sake may fault, too. Only from a trap's handler.
        """

    def wait_for_interrupt(self) -> None:
        """Let time pass until an interrupt is pending, as HLT does. Only from a hypercall's or a trap's handler."""
