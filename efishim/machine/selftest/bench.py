"""The machine of the self-test: memory, a few devices that a real PC has too, and the entry state.

The devices are the least that the programs need, at the addresses where a PC has something that behaves alike, so that
the same programs say the same on a real one.
"""

from __future__ import annotations

from efishim.machine.clock import Event
from efishim.machine.cpu import CpuidResult, GuestFault
from efishim.machine.intercepts import TRAP_PORT
from efishim.machine.machine import Machine

IMAGE = 0x100000
RAM_BELOW, RAM_ABOVE = 0xA0000, 0x8000000
VIDEO_TEXT = 0xB8000
LOCAL_APIC = 0xFEE00000
RUN_ONE = 0x1D0C7E57
"""In EAX: run the case whose number is in EBX."""
SCRATCH_PORT, PIC_MASK = 0x3FF, 0x21
HOST_BRIDGE = 0x12378086
"""Vendor and device that PCI configuration register 0 of device 0 gives on QEMU's machine `pc`."""


CPUID: dict[int, CpuidResult] = {
    0: (7, 0x756E6547, 0x6C65746E, 0x49656E69),
    1: (0x306C3, 0, 1 << 30, 0x0789A179),
    7: (0, 1 << 18 | 1 << 7 | 1, 0, 0),
    0x80000000: (0x80000001, 0, 0, 0),
    0x80000001: (0, 0, 0, 0x28100800),
}
"""Only what the programs ask: GenuineIntel, SSE2 and older, RDRAND, RDSEED, FSGSBASE, SMEP, RDTSCP, NX, SYSCALL, long mode."""


class Cells:
    """A device that keeps what is written, byte by byte."""

    def __init__(self, size: int, start: bytes = b"") -> None:
        self._bytes = bytearray(start.ljust(size, b"\0"))
        self.accesses: list[tuple[str, int, int, int]] = []
        """(`r` or `w`, offset, size, value) in order."""

    def read(self, offset: int, size: int) -> int:
        """The bytes there."""
        value = int.from_bytes(self._bytes[offset : offset + size], "little")
        self.accesses.append(("r", offset, size, value))
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Keep them."""
        self.accesses.append(("w", offset, size, value))
        self._bytes[offset : offset + size] = value.to_bytes(size, "little")


class Constant(Cells):
    """A device that cannot be changed."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Nothing happens but the note."""
        self.accesses.append(("w", offset, size, value))


class LocalApic:
    """The registers of a local APIC that a processor needs to interrupt itself: ICR, EOI and the one-shot timer.

    SDM volume 3A chapter 11. Also the machine's interrupt controller: the highest vector first, nesting is not its concern.
    """

    EOI, ICR_LOW, LVT_TIMER, INITIAL_COUNT = 0xB0, 0x300, 0x320, 0x380
    TICK_NS = 16

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._waiting: list[int] = []
        self._timer_vector = 0x10000
        self._event: Event | None = None

    def read(self, offset: int, size: int) -> int:
        """Nothing that the programs read."""
        del offset, size
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Self-IPI and timer."""
        del size
        if offset == self.ICR_LOW and value >> 18 & 3 == 1:
            self._raise(value & 0xFF)
        elif offset == self.LVT_TIMER:
            self._timer_vector = value
        elif offset == self.INITIAL_COUNT and value:
            machine = self._machine
            self._event = machine.clock.at(machine.now() + value * self.TICK_NS, self._expired)

    def _expired(self) -> None:
        if not self._timer_vector & 0x10000:
            self._raise(self._timer_vector & 0xFF)

    def _raise(self, vector: int) -> None:
        self._waiting.append(vector)
        self._machine.interrupt_changed()

    def pending(self) -> bool:
        """Is a vector waiting?"""
        return bool(self._waiting)

    def acknowledge(self) -> int:
        """Take it."""
        vector = max(self._waiting)
        self._waiting.remove(vector)
        return vector


class Msrs:
    """One register that exists: what is written is read again. All others do not."""

    EXISTS = 0x277  # IA32_PAT
    RESET = 0x0007040600070406

    def __init__(self) -> None:
        self._value = self.RESET

    def read(self, msr: int) -> int | None:
        """PAT, or None."""
        return self._value if msr == self.EXISTS else None

    def write(self, msr: int, value: int) -> bool:
        """PAT, or False; memory types above 7 and the reserved 2 and 3 are refused (SDM 3A 12.12.2)."""
        if msr != self.EXISTS or any(byte in (2, 3) or byte > 7 for byte in value.to_bytes(8, "little")):
            return False
        self._value = value
        return True


class Bench:
    """One machine with the image in place, ready to run one case."""

    def __init__(self, image: bytes, case: int, *, seed: int = 0) -> None:
        machine = Machine(seed=seed)
        self.machine = machine
        machine.memory.add(0, RAM_BELOW)
        machine.memory.add(IMAGE, RAM_ABOVE - IMAGE)
        self.scratch = Cells(1)
        self.pci = Constant(4, HOST_BRIDGE.to_bytes(4, "little"))
        self.video = Cells(0x8000)
        machine.ports.attach(SCRATCH_PORT, 1, self.scratch, "scratch")
        machine.ports.attach(PIC_MASK, 1, Cells(1), "PIC mask")
        machine.ports.attach(0xCF8, 4, Cells(4), "pci address")
        machine.ports.attach(0xCFC, 4, self.pci, "pci data")
        machine.mmio.attach(VIDEO_TEXT, 0x8000, self.video, "text memory")
        self.apic = LocalApic(machine)
        machine.mmio.attach(LOCAL_APIC, 0x1000, self.apic, "local APIC")
        machine.interrupts = self.apic
        machine.msrs = Msrs()
        machine.cpuid = lambda leaf, _subleaf: CPUID.get(leaf, (0, 0, 0, 0))
        machine.trap(TRAP_PORT, self._access)
        machine.memory.write(IMAGE, image)
        machine.power_on()
        self._enter(case)

    def _access(self, store: int) -> None:
        """What firmware and hypervisors do for a guest: the byte at RBX is loaded into AL (0) or stored from it (1), in place
        of the instruction of two bytes behind the OUT.
        """
        cpu = self.machine.cpu
        address, value = cpu.get("rbx"), cpu.get("rax")
        try:
            if store:
                cpu.write(address, bytes((value & 0xFF,)))
            else:
                cpu.set("rax", value & ~0xFF | cpu.read(address, 1)[0])
        except GuestFault as fault:
            self.machine.page_fault(fault.address, error=fault.error)
            return
        cpu.set("rip", cpu.get("rip") + 2)

    def _enter(self, case: int) -> None:
        """The machine state of the Multiboot specification, section 3.2, without the magic number."""
        cpu = self.machine.engine.processor
        for name in ("ds", "es", "fs", "gs", "ss"):
            cpu.load_segment(name, 0x10, base=0, limit=0xFFFFFFFF, flags=0x00CF9300)
        cpu.load_segment("cs", 0x08, base=0, limit=0xFFFFFFFF, flags=0x00CF9B00)
        cpu.load_segment("tr", 0, base=0, limit=0x67, flags=0x8B00)
        cpu.set("cr4", 0)
        cpu.set("efer", 0)
        cpu.set("cr0", 0x11)
        cpu.sync(0)
        cpu.set("rax", RUN_ONE)
        cpu.set("rbx", case)
        cpu.set("eflags", 2)
        entry = self.machine.memory.u32(IMAGE + 28)  # the multiboot header's entry address
        cpu.set("rip", entry)
