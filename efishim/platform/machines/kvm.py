"""The platform `kvm`: the machine `pc` as a KVM guest.

Source: Linux Documentation/virt/kvm/x86/cpuid.rst (leaves and features), msr.rst (clock registers), hypercalls.rst. Only
what is here is offered: the clock in its two generations, and that port 0x80 is not needed to pass time.
"""

from __future__ import annotations

from collections.abc import Mapping

from efishim.machine.cpu import Board
from efishim.platform.definition import Feature, PlatformDefinition, PlatformFacts, PlatformOptions
from efishim.platform.devices.cpuid import CpuidModel, Regs, pc_cpuid
from efishim.platform.devices.msr import MsrFile
from efishim.platform.devices.pvclock import TSC_STABLE, scale_of, time_info, wall_clock
from efishim.platform.machines import builder as parts
from efishim.platform.machines.pc import PC_FEATURES, add_machine
from efishim.wire.kvm import Call, Errno

CPUID_BASE = 0x4000_0000
SIGNATURE = b"KVMKVMKVM\0\0\0"
CLOCKSOURCE, NOP_IO_DELAY, CLOCKSOURCE2, CLOCKSOURCE_STABLE = 1 << 0, 1 << 1, 1 << 3, 1 << 24
WALL_CLOCK, SYSTEM_TIME, WALL_CLOCK_NEW, SYSTEM_TIME_NEW = 0x11, 0x12, 0x4B56_4D00, 0x4B56_4D01
PHYSICAL = (1 << 40) - 1
LONG_MODE, CS_LONG, VM86 = 1 << 10, 1 << 21, 1 << 17

KVM_FEATURES: tuple[Feature, ...] = (
    *(feature for feature in PC_FEATURES if feature.name != "hypervisor"),
    Feature("kvmclock", "the paravirtual clock, through MSRs 0x11 and 0x12 and their successors"),
    Feature("kvmclock_stable", "the clock reports that it is stable across processors"),
    Feature("nop_io_delay", "CPUID reports that port accesses need no delay"),
)


def kvm_leaves(features: Mapping[str, int]) -> dict[int, Regs]:
    """CPUID leaves 0x40000000 and 0x40000001."""
    name = [int.from_bytes(SIGNATURE[at : at + 4], "little") for at in (0, 4, 8)]
    word = NOP_IO_DELAY if features["nop_io_delay"] else 0
    if features["kvmclock"]:
        word |= CLOCKSOURCE | CLOCKSOURCE2 | (CLOCKSOURCE_STABLE if features["kvmclock_stable"] else 0)
    return {CPUID_BASE: (CPUID_BASE + 1, name[0], name[1], name[2]), CPUID_BASE + 1: (word, 0, 0, 0)}


class KvmClock:
    """The clock registers. A structure that the guest places where no RAM is is not written, as KVM does not either."""

    def __init__(self, board: Board, epoch: int, *, stable: bool) -> None:
        self._board = board
        self._epoch = epoch
        self._flags = TSC_STABLE if stable else 0
        self._scale = scale_of(board.tsc_hz)
        self._version = 0
        self._wall_version = 0
        self._wall = self._system = 0

    def define(self, msrs: MsrFile) -> None:
        """Both generations of both registers, which share their state."""
        for number in (WALL_CLOCK, WALL_CLOCK_NEW):
            msrs.handle(number, lambda: self._wall, self.write_wall)
        for number in (SYSTEM_TIME, SYSTEM_TIME_NEW):
            msrs.handle(number, lambda: self._system, self.write_system)

    def write_wall(self, value: int) -> bool:
        """The time of power-on goes to the address, once."""
        self._wall = value
        self._wall_version += 2
        self._store(value & ~1, wall_clock(self._wall_version, self._epoch))
        return True

    def write_system(self, value: int) -> bool:
        """Bit 0 switches the clock on; the structure at the address says how to compute it."""
        self._system = value
        if value & 1:
            self._version += 2
            info = time_info(self._version, self._board.tsc(), self._board.now(), self._scale, self._flags)
            self._store(value & ~1, info)
        return True

    def _store(self, address: int, data: bytes) -> None:
        def store() -> None:
            region = self._board.memory.find(address, len(data))
            if region is not None and region.writable:
                self._board.memory.write(address, data)

        if address <= PHYSICAL:
            self._board.afterwards(store)


class KvmHypercalls:
    """VMCALL and VMMCALL (arch/x86/kvm/x86.c, kvm_emulate_hypercall()): number in RAX, arguments from RBX on."""

    def __init__(self, board: Board) -> None:
        self._board = board

    def __call__(self) -> int:
        cpu = self._board.cpu
        wide = bool(cpu.get("efer") & LONG_MODE and cpu.get("cs.flags") & CS_LONG)
        mask = (1 << 64) - 1 if wide else 0xFFFF_FFFF
        number = cpu.get("rax") & mask
        user = cpu.get("cr0") & 1 and (cpu.get("cs") & 3 or cpu.get("eflags") & VM86)
        answer = -Errno.EPERM if user else 0 if number == Call.VAPIC_POLL_IRQ else -Errno.ENOSYS
        cpu.set("rax", answer & mask)
        return (number & 0xFFFF_FFFF) << 32


def build_kvm(board: Board, options: PlatformOptions, features: Mapping[str, int]) -> PlatformFacts:
    """The parts of `pc`, and KVM's."""
    model = pc_cpuid(
        board.tsc_hz,
        tsc_leaf=bool(features["tsc_leaf"]),
        rdrand=bool(features["rdrand"]),
        hypervisor=True,
        mtrr=bool(features["mtrr"]),
    )
    cpuid = CpuidModel({**model.leaves, **kvm_leaves(features)}, model.subleaves)
    builder = parts.begin(board, options, features, cpuid)
    add_machine(builder, "kvm")
    board.hypercall = KvmHypercalls(board)
    if features["kvmclock"]:
        assert builder.msrs is not None
        KvmClock(board, options.epoch, stable=bool(features["kvmclock_stable"])).define(builder.msrs)
    builder.present.add("KVM")
    return builder.facts("kvm")


KVM = PlatformDefinition(
    "kvm", "the machine of `pc` as a guest of KVM: its CPUID leaves, kvmclock, hypercalls", KVM_FEATURES, build_kvm
)
