"""The machine as a whole: devices, waiting, ends, determinism, and what hosts may do wrong."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from efishim.errors import MachineError
from efishim.machine.ledger import Kind
from efishim.machine.machine import Machine, Stop
from efishim.machine.selftest.bench import Cells
from efishim.machine.timekeeper import PORT_ACCESS_NS
from tests.machine.guest import DATA, ORIGIN, RAM, TABLES, build, handle32, handle64, long_mode, protected

HLT = b"\xf4"
DEVICE = 0x2000000


def with_device(device: Cells, start: int = DEVICE) -> Callable[[Machine], None]:
    return lambda machine: machine.mmio.attach(start, 0x1000, device, "device")


# Devices


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_device_memory_sees_every_access_once(size: int) -> None:
    device = Cells(0x1000)
    prefix = {1: b"", 2: b"\x66", 4: b"", 8: b"\x48"}[size]
    store, load = (b"\x88", b"\x8a") if size == 1 else (b"\x89", b"\x8b")
    # MOV [RBX + 16], RAX; MOV RCX, [RBX + 16]
    machine = long_mode(prefix + store + b"\x43\x10" + prefix + load + b"\x4b\x10" + HLT, prepare=with_device(device))
    machine.cpu.set("rbx", DEVICE)
    machine.cpu.set("rax", 0x8877665544332211)
    machine.run()
    value = 0x8877665544332211 & (1 << 8 * size) - 1
    if size == 8:  # Unicorn hands its callbacks 4 bytes at most; a bus may split an access too
        low, high = value & 0xFFFFFFFF, value >> 32
        assert device.accesses in (
            [("w", 16, 8, value), ("r", 16, 8, value)],
            [("w", 16, 4, low), ("w", 20, 4, high), ("r", 16, 4, low), ("r", 20, 4, high)],
        )
    else:
        assert device.accesses == [("w", 16, size, value), ("r", 16, size, value)]
    assert machine.cpu.get("rcx") == value
    touched = [(touch.kind, touch.address, touch.write) for touch in machine.ledger.touches()]
    assert touched[0] == (Kind.MMIO, DEVICE + 16, True)


def test_string_output_reaches_the_device_byte_by_byte() -> None:
    port = Cells(1)
    machine = protected(
        b"\xbe\x00\x00\x20\x00\xb9\x05\x00\x00\x00\xba\xf8\x03\x00\x00\xf3\x6e" + HLT,
        prepare=lambda machine: machine.ports.attach(0x3F8, 1, port, "uart"),
    )
    machine.memory.write(DATA, b"hello")
    machine.run()
    assert bytes(value for _, _, _, value in port.accesses) == b"hello"
    assert machine.now() >= 5 * PORT_ACCESS_NS
    (touch,) = machine.ledger.touches()
    assert (touch.kind, touch.address, touch.write, touch.code, touch.count) == (Kind.PORT, 0x3F8, True, ORIGIN + 15, 5)


def test_string_input_of_doublewords() -> None:
    port = Cells(4, b"\x01\x02\x03\x04")
    machine = protected(
        b"\xbf\x00\x00\x20\x00\xb9\x03\x00\x00\x00\xba\x00\x05\x00\x00\xf3\x6d" + HLT,
        prepare=lambda machine: machine.ports.attach(0x500, 4, port, "fifo"),
    )
    machine.run()
    assert machine.memory.read(DATA, 16) == b"\x01\x02\x03\x04" * 3 + bytes(4)
    assert [access[:3] for access in port.accesses] == [("r", 0, 4)] * 3


def test_empty_buses_read_ones() -> None:
    # IN EAX, 0xE0; MOV ECX, [DEVICE]
    machine = protected(b"\xe5\xe0\x8b\x0d" + struct.pack("<I", DEVICE) + HLT)
    machine.run()
    assert machine.cpu.get("rax") == machine.cpu.get("rcx") == 0xFFFFFFFF


def test_a_failing_device_ends_the_run_with_its_error() -> None:
    class Broken(Cells):
        def read(self, offset: int, size: int) -> int:
            raise MachineError("the device is on fire")

    for code, attach in (
        (b"\xe4\x60" + HLT, lambda machine: machine.ports.attach(0x60, 1, Broken(1), "broken")),
        (b"\x8b\x0d" + struct.pack("<I", DEVICE) + HLT, with_device(Broken(0x1000))),
    ):
        with pytest.raises(MachineError, match="on fire"):
            protected(code, prepare=attach).run()


# CPUID, MSRs, randomness


def test_cpuid_comes_from_the_platform() -> None:
    asked: list[tuple[int, int]] = []

    def model(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        asked.append((leaf, subleaf))
        return 0x11, 0x22, 0x33, 0x44

    machine = protected(b"\xb8\x0b\x00\x00\x00\xb9\x01\x00\x00\x00\x0f\xa2" + HLT)
    machine.cpuid = model
    machine.run()
    assert asked == [(0xB, 1)]
    assert [machine.cpu.get(name) for name in ("rax", "rbx", "rcx", "rdx")] == [0x11, 0x22, 0x33, 0x44]
    (touch,) = machine.ledger.touches()
    assert (touch.kind, touch.address) == (Kind.CPUID, 0xB << 32 | 1)


def test_msrs_come_from_the_platform() -> None:
    class Model:
        def __init__(self) -> None:
            self.written: list[tuple[int, int]] = []

        def read(self, msr: int) -> int | None:
            return 0x1122334455667788 if msr == 0x1B else None

        def write(self, msr: int, value: int) -> bool:
            self.written.append((msr, value))
            return True

    machine = protected(b"\xb9\x1b\x00\x00\x00\x0f\x32\x41\x0f\x30" + HLT)  # RDMSR; INC ECX; WRMSR
    machine.msrs = model = Model()
    machine.run()
    assert (machine.cpu.get("rdx"), machine.cpu.get("rax")) == (0x11223344, 0x55667788)
    assert model.written == [(0x1C, 0x1122334455667788)]


RANDOM = b"\x0f\xc7\xf0\x0f\xc7\xf3\x0f\xc7\xf9" + HLT  # RDRAND EAX, EBX; RDSEED ECX


def drawn(seed: int) -> tuple[int, ...]:
    machine = protected(RANDOM, seed=seed)
    machine.run()
    return tuple(machine.cpu.get(name) for name in ("rax", "rbx", "rcx"))


def test_randomness_is_the_seed_s() -> None:
    assert drawn(1) == drawn(1)
    assert len({value for seed in range(20) for value in drawn(seed)}) == 60


# Waiting


class Timer:
    """Interrupts once, `delay` ns after it was told to by a write to its port."""

    def __init__(self, machine: Machine, delay: int) -> None:
        self.machine, self.delay, self.due = machine, delay, False
        self.moments: list[int] = []

    def read(self, offset: int, size: int) -> int:
        return int(self.due)

    def write(self, offset: int, size: int, value: int) -> None:
        self.machine.clock.at(self.machine.now() + self.delay, self.fire)

    def fire(self) -> None:
        self.due = True
        self.moments.append(self.machine.now())
        self.machine.interrupt_changed()

    def pending(self) -> bool:
        return self.due

    def acknowledge(self) -> int:
        self.due = False
        return 0x30


def timed(code: bytes, delay: int) -> tuple[Machine, Timer]:
    timers: list[Timer] = []

    def prepare(machine: Machine) -> None:
        timers.append(Timer(machine, delay))
        machine.ports.attach(0x40, 1, timers[0], "timer")
        machine.interrupts = timers[0]

    machine = protected(code, prepare=prepare)
    handle32(machine, 0x30, b"\x40\xf4")  # INC EAX; HLT with interrupts off
    return machine, timers[0]


@pytest.mark.parametrize("delay", [10, 1000, 10_000_000, 3_600_000_000_000])
def test_halt_jumps_to_the_next_event(delay: int) -> None:
    machine, timer = timed(b"\x31\xc0\xe6\x40\xfb\xf4", delay)
    assert machine.run(max_insns=1000).reason == "halted"
    assert machine.cpu.get("rax") == 1
    assert machine.insns == 4 + 2, "not one instruction of waiting"
    assert timer.moments == [PORT_ACCESS_NS + delay], "at its moment (half a nanosecond of instructions aside)"


@pytest.mark.parametrize("delay", [3, 250, 9_999, 123_456])
def test_an_event_interrupts_a_loop_at_its_moment(delay: int) -> None:
    machine, timer = timed(b"\x31\xc0\xe6\x40\xfb\x90\xeb\xfd", delay)
    assert machine.run(max_insns=10_000_000).reason == "halted"
    (moment,) = timer.moments
    assert PORT_ACCESS_NS + delay <= moment <= PORT_ACCESS_NS + delay + 2


def test_a_loop_that_waits_for_the_time_stamp_counter_is_not_executed_through() -> None:
    # RDTSC; MOV ESI, EAX; loop: PAUSE; RDTSC; SUB EAX, ESI; CMP EAX, 210000000 (0.1 s); JB loop; HLT
    code = b"\x0f\x31\x89\xc6\xf3\x90\x0f\x31\x29\xf0\x3d" + struct.pack("<I", 210_000_000) + b"\x72\xf3" + HLT
    machine = protected(code)
    assert machine.run(max_insns=1_000_000).reason == "halted"
    assert 100_000_000 <= machine.now() < 102_000_000
    assert machine.insns < 10_000


def test_nothing_that_could_wake() -> None:
    machine = protected(b"\xfb\xf4")
    assert machine.run() == Stop("halted", f"HLT before {ORIGIN + 2:#x} with nothing left that could wake the processor")
    machine = protected(b"\xfa\xf4")
    assert machine.run().detail == f"HLT with interrupts off before {ORIGIN + 2:#x}"


def test_time_is_a_function_of_the_run() -> None:
    def run(seed: int) -> tuple[int, int, int, list[int]]:
        machine, timer = timed(b"\x31\xc0\xe6\x40\xfb\x0f\x31\x0f\xa2\xeb\xfa", 50_000)
        machine.seed = seed
        machine.run(max_insns=100_000)
        return machine.insns, machine.now(), machine.cpu.get("rdx"), timer.moments

    assert run(0) == run(0)


# Ends


def test_stop_ends_the_run_after_the_instruction() -> None:
    class PowerOff:
        def __init__(self, machine: Machine) -> None:
            self.machine = machine

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            self.machine.stop("poweroff", "by port")
            self.machine.stop("reset", "too late")

    machine = protected(b"\xe6\x04\xeb\xfe", prepare=lambda machine: machine.ports.attach(4, 1, PowerOff(machine), "power"))
    assert machine.run() == Stop("poweroff", "by port")


def test_poll_may_end_a_run() -> None:
    machine = protected(b"\xeb\xfe")
    polled: list[int] = []

    def poll() -> Stop | None:
        polled.append(machine.insns)
        return Stop("timeout") if machine.insns > 50_000_000 else None

    assert machine.run(poll=poll).reason == "timeout"
    assert polled[0] == 0
    assert len(polled) >= 2


def test_jumping_to_nowhere_is_a_reason() -> None:
    for target in (0, RAM, 0xFFFFFFF0):
        machine = protected(b"\xb8" + struct.pack("<I", target) + b"\xff\xe0")
        machine.memory.write(0, b"\x0f\x0b")
        stop = machine.run(max_insns=10_000)
        assert stop.reason in {"triple fault", "wild jump"}, stop


@pytest.mark.slow
def test_a_guest_that_faults_for_ever_ends() -> None:
    machine = protected(b"\x0f\x0b")
    handle32(machine, 6, b"\xcf")
    assert machine.run(max_insns=10_000).reason == "insn limit"


# Watching


def test_watch_is_called_once_before_the_block() -> None:
    machine = protected(b"\xb9\x03\x00\x00\x00" + b"\x40\xe2\xfd" + HLT)  # MOV ECX, 3; INC EAX; LOOP
    seen: list[tuple[int, int]] = []
    machine.watches.add(ORIGIN + 5, lambda: seen.append((machine.cpu.get("rip"), machine.cpu.get("rax"))))
    machine.run()
    assert seen == [(ORIGIN + 5, 1)], "the block at that address begins when the loop comes back to it"


def test_watch_after_the_code_ran() -> None:
    machine = protected(b"\x40\xeb\xfd")
    machine.run(max_insns=100)
    seen: list[int] = []
    machine.watches.add(ORIGIN, lambda: seen.append(machine.insns))
    machine.run(max_insns=200)
    assert seen == [100]


def test_watch_code_finds_code_wherever_it_is() -> None:
    body = b"\x31\xdb\x43\xf4"
    machine = protected(b"\xe9" + struct.pack("<i", DATA + 0x345 - ORIGIN - 5))
    machine.memory.write(DATA + 0x345, body)
    seen: list[int] = []
    machine.watches.add_code(0xFFF, 0x345, body, seen.append)
    machine.watches.add_code(0xFFF, 0x346, body, seen.append)
    machine.watches.add_code(0xFFF, 0x345, b"\x31\xdb\x44", seen.append)
    machine.run()
    assert seen == [DATA + 0x345]


def test_a_watch_may_stop_the_run_and_change_registers() -> None:
    machine = protected(b"\xb9\x03\x00\x00\x00\xeb\x00\x40" + HLT)

    def there() -> None:
        machine.cpu.set("rax", 41)

    machine.watches.add(ORIGIN + 7, there)
    machine.run()
    assert machine.cpu.get("rax") == 42
    machine = protected(b"\xb9\x03\x00\x00\x00\xeb\x00\x40" + HLT)
    machine.watches.add(ORIGIN + 7, lambda: machine.stop("there"))
    assert machine.run().reason == "there"
    assert (machine.cpu.get("rip"), machine.insns) == (ORIGIN + 7, 2)


def test_an_error_in_a_watch_is_not_lost() -> None:
    def bad() -> None:
        raise ZeroDivisionError

    machine = protected(b"\x90" + HLT)
    machine.watches.add(ORIGIN, bad)
    with pytest.raises(ZeroDivisionError):
        machine.run()


# Memory


def test_code_and_data_above_4_gib() -> None:
    high = 0x1_4000_0000

    def prepare(machine: Machine) -> None:
        machine.memory.add(0x1_0000_0000, 0x8000_0000)

    machine = long_mode(b"\x48\xb8" + struct.pack("<Q", high + 0x1000) + b"\xff\xe0", prepare=prepare)
    for gib in range(1, 6):
        machine.memory.put_u64(TABLES + 0x1000 + 8 * gib, (TABLES + 0x10000 + gib * 0x1000) | 3)
        for number in range(512):
            machine.memory.put_u64(TABLES + 0x10000 + gib * 0x1000 + 8 * number, gib << 30 | number << 21 | 0x83)
    # MOV RBX, high; MOV ECX, 0x5A5A5A5A; MOV [RBX], ECX; MOV EDX, [RBX]; HLT
    machine.memory.write(high + 0x1000, b"\x48\xbb" + struct.pack("<Q", high) + b"\xb9\x5a\x5a\x5a\x5a\x89\x0b\x8b\x13" + HLT)
    assert machine.run(max_insns=100).reason == "halted"
    assert machine.cpu.get("rdx") == machine.memory.u32(high) == 0x5A5A5A5A
    assert machine.cpu.get("rip") == high + 0x1000 + 20


SIXTEEN_GIB = """
import resource
from tests.machine.guest import *
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def prepare(machine):
    machine.memory.add(0x1_0000_0000, 13 << 30)
machine = protected(b"\\xf4", ram=3 << 30, prepare=prepare)
assert machine.run().reason == "halted"
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) >> 10)
"""


def test_sixteen_gibibytes_take_what_is_used() -> None:
    out = subprocess.run([sys.executable, "-c", SIXTEEN_GIB], capture_output=True, text=True, check=True, timeout=60)
    assert int(out.stdout) < 100, "MiB"


def test_host_writes_to_code_need_a_flush() -> None:
    machine = protected(b"\xb0\x11\x90\xeb\xfb")
    machine.run(max_insns=300)
    machine.memory.write(ORIGIN + 1, b"\x22")
    machine.flush_code(ORIGIN + 1, 1)
    machine.run(max_insns=600)
    assert machine.cpu.get("rax") & 0xFF == 0x22


def test_stores_to_rom_are_lost() -> None:
    def add_rom(machine: Machine) -> None:
        machine.memory.add(0xF0000000, 0x1000, name="rom", writable=False)
        machine.memory.write(0xF0000000, b"\xaa\xbb\xcc\xdd")

    # MOV dword [ROM], 0; MOV EAX, [ROM]; HLT
    code = b"\xc7\x05" + struct.pack("<II", 0xF0000000, 0) + b"\xa1" + struct.pack("<I", 0xF0000000) + HLT
    machine = protected(code, prepare=add_rom)
    assert machine.run(max_insns=100).reason == "halted"
    assert machine.cpu.get("rax") == 0xDDCCBBAA
    assert machine.insns == 3


# Traps to the host


def test_trap_may_change_everything() -> None:
    machine = protected(b"\xb0\x07\xe6\xe4\x90\xf4")

    def handler(number: int) -> None:
        machine.cpu.set("rbx", number)
        machine.cpu.set("rip", ORIGIN + 0x100)

    machine.trap(0xE4, handler)
    machine.memory.write(ORIGIN + 0x100, b"\x43" + HLT)
    machine.run()
    assert (machine.cpu.get("rbx"), machine.cpu.get("rip")) == (8, ORIGIN + 0x102)


@pytest.mark.parametrize("error", [0, 2, 3])
def test_a_trap_may_fault_for_the_instruction_that_caused_it(error: int) -> None:
    """mov al, 7; out 0xE4, al: the handler of the page fault finds RIP at the OUT."""
    machine = long_mode(b"\xb0\x07\xe6\xe4\xf4")

    def handler(number: int) -> None:
        machine.cpu.set("rip", ORIGIN + 2)
        machine.page_fault(0x1234_5678_9000, error=error)

    machine.trap(0xE4, handler)
    handle64(machine, 14, b"\x58\x5b\xf4")  # pop rax; pop rbx; hlt
    machine.run()
    assert machine.cpu.get("rax") == error
    assert machine.cpu.get("rbx") == ORIGIN + 2
    assert machine.cpu.get("cr2") == 0x1234_5678_9000


def test_a_trap_that_faults_without_a_handler_ends_the_run() -> None:
    machine = protected(b"\xb0\x07\xe6\xe4\xf4")
    machine.trap(0xE4, lambda _: machine.page_fault(0x9000, error=0))
    assert machine.run().reason == "triple fault"


def test_there_is_one_trap() -> None:
    machine = build(HLT)
    with pytest.raises(MachineError, match="0xe4"):
        machine.trap(0x80, lambda _: None)
    machine.trap(0xE4, lambda _: None)
    with pytest.raises(MachineError):
        machine.trap(0xE4, lambda _: None)


# Putting it together


def test_a_machine_is_switched_on_once() -> None:
    machine = Machine()
    with pytest.raises(MachineError, match="not on"):
        machine.engine  # noqa: B018 - the property raises
    machine.memory.add(0, 0x100000)
    machine.power_on()
    with pytest.raises(MachineError, match="on already"):
        machine.power_on()


def test_a_machine_needs_ram() -> None:
    machine = Machine()
    machine.memory.add(0xFFFF0000, 0x10000, name="rom", writable=False)
    with pytest.raises(MachineError, match="no RAM"):
        machine.power_on()


def test_two_machines_do_not_know_each_other() -> None:
    one, other = protected(b"\x40\xeb\xfd"), protected(b"\x40\x40\xeb\xfc")
    for limit in range(10, 100, 10):
        one.run(max_insns=limit)
        other.run(max_insns=limit)
    assert (one.cpu.get("rax"), other.cpu.get("rax")) == (45, 60)
