"""CPUID, the hypercall page, who may call, and what nobody answers. Expected values: Xen's public headers."""

from __future__ import annotations

import struct

import capstone
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.injection import Fault, Injections
from efishim.platform.resources import hypercall_name
from efishim.platform.xen.hypervisor import failing
from tests.platform.xen.guest import (
    ARGUMENT,
    E2BIG,
    EFAULT,
    ENOSYS,
    EPERM,
    MEMORY_OP,
    MULTICALL,
    PHYSDEV_OP,
    SET_TIMER_OP,
    TMEM_OP,
    VCPU_OP,
    XEN_VERSION,
    Guest,
)


def test_cpuid_leaves() -> None:
    """public/arch-x86/cpuid.h: the signature, then version, hypercall MSR, time, HVM features."""
    cpuid = Guest().facts.cpuid
    assert cpuid(1, 0)[2] >> 31 == 1
    assert cpuid(0x4000_0000, 0) == (0x4000_0005, 0x566E_6558, 0x6558_4D4D, 0x4D4D_566E)
    assert cpuid(0x4000_0001, 0)[0] == 4 << 16 | 17
    assert cpuid(0x4000_0002, 0) == (1, 0x4000_0000, 0, 0)
    assert cpuid(0x4000_0003, 0)[2] == 2_000_000  # kHz of the fake board
    assert cpuid(0x4000_0003, 2) == (2_000_000, 0, 0, 0)
    assert cpuid(0x4000_0004, 0) == (0b101_1100, 0, 1, 0)
    assert cpuid(0x4000_0004, 1) == cpuid(0x4000_0005, 0) == (0, 0, 0, 0)
    assert cpuid(0x4000_0100, 0) == (0, 0, 0, 0), "no Viridian in front"


def test_what_xen_hides_from_its_guests() -> None:
    cpuid = Guest().facts.cpuid
    assert cpuid(0, 0)[0] == 0x0D
    assert cpuid(6, 0) == (0, 0, 0, 0)
    assert cpuid(0x8000_0007, 0)[3] == 0
    assert Guest(invariant_tsc="1").facts.cpuid(0x8000_0007, 0)[3] == 1 << 8
    assert Guest(upcall_vector="0").facts.cpuid(0x4000_0004, 0)[0] == 0b1_1100


def test_hypercall_page() -> None:
    guest = Guest()
    msrs = guest.board.msrs
    assert msrs is not None
    assert msrs.read(0x4000_0000) == 0
    assert msrs.write(0x4000_0000, 0x20_0000)
    page = guest.board.memory.read(0x20_0000, 4096)
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)  # type: ignore[no-untyped-call]
    for number in range(128):
        stub = page[32 * number : 32 * number + 32]
        listing = engine.disasm_lite(stub, 0)  # type: ignore[no-untyped-call]
        code = [f"{name} {operands}".strip() for _, _, name, operands in listing]
        shown = hex(number) if number > 9 else str(number)
        expected = ["ud2"] if number == 23 else [f"mov eax, {shown}", "vmcall", "ret"]
        assert code[: len(expected)] == expected, number


@pytest.mark.parametrize("value", [1, 0x20_0001, 0x2_0000_0000, 0xFEE0_0000, 1 << 52])
def test_no_hypercall_page_beyond_the_first_or_outside_of_ram(value: int) -> None:
    guest = Guest()
    assert guest.board.msrs is not None
    assert not guest.board.msrs.write(0x4000_0000, value)
    assert not guest.board.msrs.write(0x4000_0001, 0x1000)


def test_only_the_kernel_calls() -> None:
    guest = Guest()
    guest.cpu.set("cs", 0x33)
    assert guest.call(XEN_VERSION, 0) == EPERM
    guest.cpu.set("cs", 0x10)
    assert guest.call(XEN_VERSION, 0) == 4 << 16 | 17
    guest.cpu.registers |= {"efer": 0, "cs.flags": 0x00CF9B00, "eflags": 1 << 17}
    guest.wide = False
    assert guest.call(XEN_VERSION, 0) == EPERM, "virtual-8086 mode"


@pytest.mark.parametrize("number", [0, 1, TMEM_OP, 63, 127, 128, 1 << 31, (1 << 64) - 1])
def test_unknown_calls(number: int) -> None:
    assert Guest().call(number) == ENOSYS


def test_a_pvh_guest_has_no_physical_devices() -> None:
    guest = Guest()
    assert {guest.call(PHYSDEV_OP, command, ARGUMENT) for command in range(40)} == {ENOSYS}


def test_names_for_the_ledger() -> None:
    guest = Guest()
    guest.call(XEN_VERSION, 6, ARGUMENT)
    assert guest.name == XEN_VERSION << 32 | 6
    assert hypercall_name(guest.facts.resources, XEN_VERSION, 6) == "xen_version.6"
    guest.call(SET_TIMER_OP, 12345)
    assert guest.name == SET_TIMER_OP << 32, "a time is no operation"
    assert hypercall_name(guest.facts.resources, 99, 0) == "0x63"


def test_multicall() -> None:
    """struct multicall_entry: op, result, six arguments."""
    guest = Guest()
    entries = [(XEN_VERSION, 0, 0), (MULTICALL, 0, 0), (VCPU_OP, 3, 0), (XEN_VERSION, 6, 1 << 40)]
    packed = b"".join(struct.pack("<8Q", op, 0, first, second, 0, 0, 0, 0) for op, first, second in entries)
    guest.board.memory.write(ARGUMENT, packed)
    assert guest.call(MULTICALL, ARGUMENT, len(entries)) == 0
    results = [struct.unpack("<q", guest.board.memory.read(ARGUMENT + 64 * n + 8, 8))[0] for n in range(len(entries))]
    assert results == [4 << 16 | 17, ENOSYS, 1, EFAULT]
    assert guest.call(MULTICALL, ARGUMENT, 1 << 20) == E2BIG
    assert guest.call(MULTICALL, 1 << 40, 1) == EFAULT


def test_arguments_of_32_bit_code() -> None:
    guest = Guest(wide=False)
    guest.cpu.set("rdi", 0xDEAD_BEEF_0000_0000)
    assert guest.call(XEN_VERSION, 0) == 4 << 16 | 17
    assert guest.op(MEMORY_OP, 9, "II", 0, 0) == 0
    guest.call(TMEM_OP)
    assert guest.cpu.get("rax") == ENOSYS + (1 << 32)


ANYTHING = st.one_of(
    st.integers(0, 64), st.sampled_from([ARGUMENT, 0x7FF0, (1 << 32) - 1, (1 << 64) - 1, 64 << 20]), st.integers(0, 1 << 64)
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 48), st.lists(ANYTHING, min_size=4, max_size=4), st.binary(max_size=48)), max_size=25),
    st.booleans(),
)
def test_a_hostile_guest_breaks_nothing(calls: list[tuple[int, list[int], bytes]], wide: bool) -> None:
    guest = Guest(wide=wide)
    mask = (1 << (64 if wide else 32)) - 1
    for number, arguments, data in calls:
        guest.board.memory.write(ARGUMENT, data)
        assert guest.call(number, *(value & mask for value in arguments)) >= -133
        guest.board.advance(10_000_000)
        for _ in range(3):
            vector = guest.interrupt
            assert vector is None or 0 <= vector <= 0xFF
    assert all(reason.startswith(("shutdown", "reset")) for reason in guest.board.stops)


def test_hypercalls_that_are_made_to_fail() -> None:
    """By name, or by name and operation; the others are answered, and the ledger's name is the same."""
    guest = Guest()
    board = guest.board
    assert board.hypercall is not None
    fault = Fault("xen_version.0", 2, False, "ENOSYS", ENOSYS)
    board.hypercall = failing(board, board.hypercall, Injections([fault]))
    version = 4 << 16 | 17
    assert [guest.call(XEN_VERSION, 0) for _ in range(3)] == [version, ENOSYS, version]
    every = Fault("xen_version", 1, True, "EPERM", EPERM)
    board.hypercall = failing(board, board.hypercall, Injections([every]))
    assert guest.call(XEN_VERSION, 0) == EPERM
    assert guest.name == XEN_VERSION << 32
    assert guest.call(PHYSDEV_OP) == ENOSYS
