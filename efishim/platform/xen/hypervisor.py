"""The hypervisor: CPUID leaves, the hypercall MSR, and hypercall dispatch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from efishim.injection import Injections
from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE
from efishim.memory_range import MemoryRange
from efishim.platform.devices.cpuid import Regs
from efishim.platform.devices.pvclock import scale_of
from efishim.platform.xen.console import console_io
from efishim.platform.xen.events import EventChannels
from efishim.platform.xen.frames import Physmap
from efishim.platform.xen.guest import GuestCopy, Registers, read_registers
from efishim.platform.xen.hvm import HvmOperations, sched_call
from efishim.platform.xen.interrupts import XenInterrupts
from efishim.platform.xen.memory import Memory
from efishim.platform.xen.shared import SharedInfo
from efishim.platform.xen.vcpu import Vcpu
from efishim.platform.xen.version import version_call, vm_assist
from efishim.wire import xen as abi
from efishim.wire.xen import Call, Errno, Refused

CPUID_BASE, LAST_LEAF = 0x4000_0000, 5
SIGNATURE = b"XenVMMXenVMM"
HYPERCALL_MSR = 0x4000_0000
IOMMU_MAPPINGS, VCPU_ID_PRESENT, DOMID_PRESENT, UPCALL_VECTOR = 1 << 2, 1 << 3, 1 << 4, 1 << 6
TSC_SAFE, TSC_RDTSCP = 1 << 1, 1 << 2
MOST_CALLS = 1024
"""Entries of one multicall."""
VM86 = 1 << 17


def cpuid_leaves(tsc_hz: int, *, upcall_vector: bool = True) -> tuple[dict[int, Regs], dict[tuple[int, int], Regs]]:
    """Leaves and subleaves of Xen 4.17 for an HVM guest (arch/x86/traps.c, cpuid_hypervisor_leaves())."""
    name = [int.from_bytes(SIGNATURE[at : at + 4], "little") for at in (0, 4, 8)]
    scale = scale_of(tsc_hz)
    leaves: dict[int, Regs] = {
        CPUID_BASE: (CPUID_BASE + LAST_LEAF, name[0], name[1], name[2]),
        CPUID_BASE + 1: (abi.VERSION_MAJOR << 16 | abi.VERSION_MINOR, 0, 0, 0),
        CPUID_BASE + 2: (1, HYPERCALL_MSR, 0, 0),
    }
    flags = IOMMU_MAPPINGS | VCPU_ID_PRESENT | DOMID_PRESENT | (UPCALL_VECTOR if upcall_vector else 0)
    subleaves: dict[tuple[int, int], Regs] = {
        (CPUID_BASE + 3, 0): (TSC_SAFE | TSC_RDTSCP, 0, tsc_hz // 1000, 0),  # default TSC mode, first incarnation
        (CPUID_BASE + 3, 1): (0, 0, scale.multiplier, scale.shift & 0xFFFF_FFFF),
        (CPUID_BASE + 3, 2): (tsc_hz // 1000, 0, 0, 0),
        (CPUID_BASE + 4, 0): (flags, 0, abi.DOMID, 0),
    }
    return leaves, subleaves


def hypercall_page() -> bytes:
    """The stubs that WRMSR puts into a page: `mov eax, number; vmcall; ret`, 32 bytes each (arch/x86/hvm/vmx/vmx.c)."""
    page = bytearray(PAGE)
    for number in range(abi.STUBS):
        at = number * abi.STUB_SIZE
        if number == abi.IRET:
            page[at : at + 2] = b"\x0f\x0b"
        else:
            page[at : at + 9] = b"\xb8" + number.to_bytes(4, "little") + b"\x0f\x01\xc1\xc3"
    return bytes(page)


@dataclass(frozen=True)
class Parts:
    """What the hypervisor is made of. `memory_map` is asked when the guest asks; `console` gets the emergency console."""

    board: Board
    interrupts: XenInterrupts
    epoch: int
    memory_map: Callable[[], Sequence[MemoryRange]]
    console: Callable[[bytes], None]


class Hypervisor:
    """Answers hypercalls. Connect `hypercall` to the board, `read_msr` and `write_msr` to HYPERCALL_MSR."""

    def __init__(self, parts: Parts) -> None:
        board = parts.board
        self._board = board
        self._console = parts.console
        self._copy = GuestCopy(board)
        self.physmap = Physmap(board)
        self.shared = SharedInfo(self.physmap, parts.epoch)
        self.events = EventChannels(self.shared, self._copy, parts.interrupts.upcall)
        self.vcpu = Vcpu(board, self.shared, self.events, self._copy)
        self.memory = Memory(parts.memory_map, self.physmap, self.shared, self._copy)
        self.hvm = HvmOperations(self.shared, parts.interrupts, self._copy)
        parts.interrupts.upcall_pending = lambda: self.shared.upcall_pending

    def read_msr(self) -> int:
        """Reads as zero."""
        return 0

    def write_msr(self, value: int) -> bool:
        """Put the stubs into the page at `value`; False, so #GP, for an index beyond the one page and for no RAM."""
        if value % PAGE or not self.physmap.is_ram(value // PAGE):
            return False

        def fill() -> None:
            self._board.memory.write(value, hypercall_page())
            self._board.flush_code(value, PAGE)

        self._board.afterwards(fill)
        return True

    def hypercall(self) -> int:
        """Answer the guest's VMCALL; gives number << 32 | operation for the ledger."""
        call = read_registers(self._board)
        cpu = self._board.cpu
        user = cpu.get("cr0") & 1 and (cpu.get("cs") & 3 or cpu.get("eflags") & VM86)
        answer = -Errno.EPERM if user else self._answer(call)
        cpu.set("rax", _as_register(answer, call))
        number, operation = _named(call)
        return number << 32 | operation

    def _answer(self, call: Registers) -> int:
        try:
            return self._dispatch(call)
        except Refused as refused:
            return -refused.errno

    def _dispatch(self, call: Registers) -> int:
        first, second, third = call.arguments[:3]
        wide, copy, command = call.wide, self._copy, call.arguments[0] & 0xFFFF_FFFF
        match call.number:
            case Call.MEMORY_OP:
                return self.memory.call(command, second, wide)
            case Call.MULTICALL:
                return self._multicall(first, second, wide)
            case Call.SET_TIMER_OP:
                return self.vcpu.set_timer(first if wide else first | second << 32)
            case Call.XEN_VERSION:
                return version_call(copy, command, second, wide)
            case Call.CONSOLE_IO:
                return console_io(copy, self._console, command, second & 0xFFFF_FFFF, third)
            case Call.GRANT_TABLE_OP:
                return self.memory.grant_call(command, second, third & 0xFFFF_FFFF, wide)
            case Call.VM_ASSIST:
                return vm_assist(command, second & 0xFFFF_FFFF)
            case Call.VCPU_OP:
                return self.vcpu.call(command, second & 0xFFFF_FFFF, third, wide)
            case Call.SCHED_OP:
                return sched_call(self._board, copy, command, second)
            case Call.EVENT_CHANNEL_OP:
                return self.events.call(command, second)
            case Call.HVM_OP:
                return self.hvm.call(command, second, wide)
            case Call.PLATFORM_OP | Call.SYSCTL | Call.DOMCTL:
                raise Refused(Errno.EPERM)
        raise Refused(Errno.ENOSYS)

    def _multicall(self, address: int, count: int, wide: bool) -> int:
        word, form = (8, "8Q") if wide else (4, "8I")
        if count > MOST_CALLS:
            raise Refused(Errno.E2BIG)
        for index in range(count):
            place = address + index * 8 * word
            number, _, *arguments = self._copy.take(place, form)
            nested = number == Call.MULTICALL
            answer = -Errno.ENOSYS if nested else self._answer(Registers(number, tuple(arguments[:5]), wide))
            self._copy.write(place + word, (answer & (1 << 8 * word) - 1).to_bytes(word, "little"))
        return 0


_WITH_COMMAND = frozenset(Call) - {Call.MULTICALL, Call.SET_TIMER_OP, Call.MMUEXT_OP, Call.DM_OP, Call.SYSCTL, Call.DOMCTL}
"""Whose first argument is the number of an operation."""


def _named(call: Registers) -> tuple[int, int]:
    """The call's number and that of its operation, 0 for one that has none."""
    number = call.number & 0xFFFF_FFFF
    return number, call.arguments[0] & 0xFFFF_FFFF if number in _WITH_COMMAND else 0


def _as_register(answer: int, call: Registers) -> int:
    return answer & ((1 << 64) - 1 if call.wide else 0xFFFF_FFFF)


def failing(board: Board, hypercall: Callable[[], int], injections: Injections) -> Callable[[], int]:
    """Answers hypercalls as `hypercall` does, except those that are to fail: `memory_op`, or `memory_op.9` for one operation.
    What a multicall holds counts as one.
    """

    def answered() -> int:
        call = read_registers(board)
        number, operation = _named(call)
        name = Call(number).name.lower() if number in frozenset(Call) else f"{number:#x}"
        error = injections.strike(name, f"{name}.{operation}")
        if error is None:
            return hypercall()
        board.cpu.set("rax", _as_register(error, call))
        return number << 32 | operation

    return answered
