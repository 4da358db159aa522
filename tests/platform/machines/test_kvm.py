"""The platform `kvm`, against Linux's Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst."""

from __future__ import annotations

import struct

import pytest

from efishim.platform.definition import MIB, PlatformFacts, PlatformOptions
from efishim.platform.machines.kvm import KVM
from efishim.platform.machines.pc import PC
from tests.platform.fakes import FakeBoard
from tests.platform.xen.guest import FakeCpu

EPOCH = 1_460_000_000
ENOSYS, EPERM = 1000, 1


def build(**features: str) -> tuple[FakeBoard, PlatformFacts]:
    board = FakeBoard()
    board.cpu = FakeCpu(board)
    return board, KVM.build(board, PlatformOptions(64 * MIB, EPOCH, features))


def features_of(facts: PlatformFacts) -> set[int]:
    word = facts.cpuid(0x4000_0001, 0)[0]
    return {bit for bit in range(32) if word >> bit & 1}


def test_cpuid() -> None:
    _, facts = build()
    assert facts.cpuid(1, 0)[2] >> 31 == 1
    assert facts.cpuid(0x4000_0000, 0) == (0x4000_0001, 0x4B4D_564B, 0x564B_4D56, 0x4D)
    assert features_of(facts) == {0, 1, 3, 24}  # CLOCKSOURCE, NOP_IO_DELAY, CLOCKSOURCE2, CLOCKSOURCE_STABLE_BIT
    assert features_of(build(kvmclock_stable="0")[1]) == {0, 1, 3}
    assert features_of(build(kvmclock="0")[1]) == {1}
    assert features_of(build(nop_io_delay="0")[1]) == {0, 3, 24}


def test_everything_else_is_the_pc() -> None:
    board, facts = build()
    other = FakeBoard()
    pc = PC.build(other, PlatformOptions(64 * MIB, EPOCH))
    assert facts.memory_map == pc.memory_map
    ports = [[(one.start, one.name) for one in each.ports.attachments] for each in (board, other)]
    assert ports[0] == ports[1] != []
    names = {resource.name for resource in facts.resources if resource.present}
    assert names - {"KVM"} == {resource.name for resource in pc.resources if resource.present}
    assert all(facts.cpuid(leaf, 0) == pc.cpuid(leaf, 0) for leaf in (0, 4, 7, 0x15, 0x8000_0001))


@pytest.mark.parametrize("msr", [0x12, 0x4B56_4D01])
def test_system_time(msr: int) -> None:
    """Bit 0 enables; the guest computes the time from version, pad, tsc, ns, multiplier, shift, flags."""
    board, _ = build()
    assert board.msrs is not None
    board.advance(5_000_000)
    assert board.msrs.write(msr, 0x20_0040)
    assert board.memory.read(0x20_0040, 32) == bytes(32), "not enabled"
    assert board.msrs.write(msr, 0x20_0041)
    assert board.msrs.read(msr) == 0x20_0041
    board.advance(1_000_000)
    version, _, stamp, base, multiplier, shift, flags = struct.unpack("<IIQQIbB", board.memory.read(0x20_0040, 30))
    assert version == 2
    assert flags == 1
    delta = board.tsc() - stamp
    assert base + ((delta << shift if shift >= 0 else delta >> -shift) * multiplier >> 32) == 6_000_000
    assert board.msrs.write(msr, 0x20_0041)
    assert board.memory.u32(0x20_0040) == 4, "the version goes on, and is even"


@pytest.mark.parametrize("msr", [0x11, 0x4B56_4D00])
def test_wall_clock_is_the_time_of_power_on(msr: int) -> None:
    board, _ = build()
    assert board.msrs is not None
    board.advance(5_000_000_000)
    assert board.msrs.write(msr, 0x20_0080)
    version, seconds, nanoseconds = struct.unpack("<III", board.memory.read(0x20_0080, 12))
    assert (version % 2, seconds, nanoseconds) == (0, EPOCH, 0)


@pytest.mark.parametrize("address", [1 << 45, 0xE_0000, 0x400_0000 - 8, (1 << 64) - 1, 0xFEE0_0001])
def test_where_no_ram_is_nothing_is_written(address: int) -> None:
    board, _ = build()
    assert board.msrs is not None
    rom = board.memory.read(0xE_0000, 64)
    assert board.msrs.write(0x4B56_4D01, address | 1)
    assert board.msrs.write(0x4B56_4D00, address)
    assert board.memory.read(0xE_0000, 64) == rom
    assert board.memory.read(0x400_0000 - 8, 8) == bytes(8)


def test_without_the_clock_its_registers_fault() -> None:
    board, _ = build(kvmclock="0")
    assert board.msrs is not None
    for msr in (0x11, 0x12, 0x4B56_4D00, 0x4B56_4D01):
        assert board.msrs.read(msr) is None
        assert not board.msrs.write(msr, 0x1000)


@pytest.mark.parametrize(("number", "answer"), [(1, 0), (0, -ENOSYS), (5, -ENOSYS), (9, -ENOSYS), (1 << 63, -ENOSYS)])
def test_hypercalls(number: int, answer: int) -> None:
    board, _ = build()
    assert board.hypercall is not None
    board.cpu.set("rax", number)
    assert board.hypercall() == (number & 0xFFFF_FFFF) << 32
    assert board.cpu.get("rax") == answer % (1 << 64)


def test_hypercalls_of_userspace_and_of_32_bit_code() -> None:
    board, _ = build()
    assert board.hypercall is not None
    board.cpu.set("cs", 0x33)
    board.cpu.set("rax", 1)
    board.hypercall()
    assert board.cpu.get("rax") == -EPERM % (1 << 64)
    board.cpu.set("cs", 0x10)
    board.cpu.set("efer", 0)
    board.cpu.set("rax", 0xFFFF_FFFF_0000_0007)
    assert board.hypercall() == 7 << 32
    assert board.cpu.get("rax") == -ENOSYS % (1 << 32)
