"""CPUID: what is claimed is what the engine has, and what kernels conclude from it."""

from __future__ import annotations

import struct
from typing import Any, cast

import pytest
import unicorn
from hypothesis import given
from hypothesis import strategies as st
from unicorn.x86_const import UC_X86_REG_EAX, UC_X86_REG_EBX, UC_X86_REG_ECX, UC_X86_REG_EDX

from efishim.platform.devices.cpuid import SIGNATURE, CpuidModel, pc_cpuid

HZ = 2_100_000_000
REGISTERS = (UC_X86_REG_EAX, UC_X86_REG_EBX, UC_X86_REG_ECX, UC_X86_REG_EDX)


def engine_cpuid(leaf: int, subleaf: int = 0) -> tuple[int, ...]:
    """What the bare engine answers."""
    engine = cast(Any, unicorn).Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_64)  # it has no types
    engine.mem_map(0x1000, 0x1000)
    engine.mem_write(0x1000, b"\x0f\xa2\x90")
    engine.reg_write(UC_X86_REG_EAX, leaf)
    engine.reg_write(UC_X86_REG_ECX, subleaf)
    engine.emu_start(0x1000, 0x1002)
    return tuple(engine.reg_read(register) & 0xFFFF_FFFF for register in REGISTERS)


def text(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


@pytest.fixture
def model() -> CpuidModel:
    return pc_cpuid(HZ)


@pytest.mark.parametrize(
    ("leaf", "register", "machine"),
    [
        (1, 2, 0),
        (1, 3, 1 << 9),  # the APIC is the platform's
        (7, 1, 1 << 1),  # TSC_ADJUST is the machine's
        (0x8000_0001, 2, 0),
        (0x8000_0001, 3, 0),
    ],
)
def test_no_feature_that_the_engine_does_not_have(model: CpuidModel, leaf: int, register: int, machine: int) -> None:
    claimed = model(leaf, 0)[register]
    assert claimed & ~(engine_cpuid(leaf)[register] | machine) == 0


def test_x86_64_v2_is_complete(model: CpuidModel) -> None:
    """The psABI's level 2: what current distributions are built for."""
    ecx = model(1, 0)[2]
    for bit in (0, 9, 13, 19, 20, 23):  # SSE3 SSSE3 CMPXCHG16B SSE4.1 SSE4.2 POPCNT
        assert ecx >> bit & 1
    assert model(0x8000_0001, 0)[2] & 1, "LAHF in long mode"


def test_what_is_not_there(model: CpuidModel) -> None:
    ecx = model(1, 0)[2]
    for bit in (3, 21, 24, 26, 27, 28, 31):  # MONITOR x2APIC TSC-deadline XSAVE OSXSAVE AVX hypervisor
        assert not ecx >> bit & 1
    assert model(7, 0)[2] >> 16 & 1 == 0, "no five-level paging"
    assert model(7, 0)[1] >> 9 & 1 == 0, "no ERMS"
    assert pc_cpuid(HZ, hypervisor=True)(1, 0)[2] >> 31 == 1
    assert not pc_cpuid(HZ, rdrand=False)(1, 0)[2] >> 30 & 1


def test_names(model: CpuidModel) -> None:
    _, ebx, ecx, edx = model(0, 0)
    assert text(ebx, edx, ecx) == b"GenuineIntel"
    brand = b"".join(text(*model(leaf, 0)) for leaf in (0x8000_0002, 0x8000_0003, 0x8000_0004))
    assert brand.rstrip(b"\0") == b"efishim emulated processor @ 2.10GHz"


def test_linux_takes_it_for_a_processor_that_does_not_speculate(model: CpuidModel) -> None:
    """x86_family() and x86_model() of arch/x86/lib/cpu.c; INTEL_FAM6_ATOM_BONNELL is 0x1c."""
    eax = model(1, 0)[0]
    assert eax == SIGNATURE
    assert eax >> 8 & 0xF == 6
    assert (eax >> 4 & 0xF) | (eax >> 16 & 0xF) << 4 == 0x1C
    assert eax & 0xF > 2, "below, Linux drops large pages for an erratum"


def test_frequencies_as_linux_computes_them(model: CpuidModel) -> None:
    """native_calibrate_tsc(): crystal * EBX / EAX, all three not zero."""
    eax, ebx, ecx, _ = model(0x15, 0)
    assert eax
    assert ecx // 1000 * ebx // eax == HZ // 1000
    assert model(0x16, 0)[0] == 2100
    assert model(0x8000_0007, 0)[3] >> 8 & 1, "invariant TSC"
    without = pc_cpuid(HZ, tsc_leaf=False)
    assert without(0, 0)[0] < 0x15


def test_topology_is_one_processor(model: CpuidModel) -> None:
    levels = [model(0x0B, sub) for sub in range(3)]
    assert [(regs[1] & 0xFFFF, regs[2] >> 8 & 0xFF) for regs in levels] == [(1, 1), (1, 2), (0, 0)]
    assert model(1, 0)[1] >> 24 == levels[0][3] == 0, "initial APIC ID and x2APIC ID agree"
    assert [regs[2] & 0xFF for regs in levels] == [0, 1, 2]


def test_caches_end_with_a_null_descriptor(model: CpuidModel) -> None:
    sizes = []
    sub = 0
    while (regs := model(4, sub))[0] & 0x1F:
        sizes.append((regs[1] >> 22 & 0x3FF) + 1)
        sizes[-1] *= ((regs[1] & 0xFFF) + 1) * (regs[2] + 1)
        sub += 1
    assert sizes == [24 << 10, 32 << 10, 512 << 10]


def test_address_widths(model: CpuidModel) -> None:
    physical = model(0x8000_0008, 0)[0] & 0xFF
    assert physical >= 40
    assert physical <= engine_cpuid(0x8000_0008)[0] & 0xFF


def test_leaves_above_the_highest(model: CpuidModel) -> None:
    """SDM volume 2, CPUID: the data of the highest basic leaf."""
    for leaf in (0x17, 0x4000_0000, 0x8000_0009, 0xC000_0000, 0xFFFF_FFFF):
        assert model(leaf, 0) == model(0x16, 0)


def test_a_hypervisor_range() -> None:
    base = pc_cpuid(HZ, hypervisor=True)
    model = CpuidModel({**base.leaves, 0x4000_0000: (0x4000_0001, 1, 2, 3), 0x4000_0001: (9, 0, 0, 0)}, base.subleaves)
    assert model(0x4000_0001, 0) == (9, 0, 0, 0)
    assert model(0x4000_0100, 0) == (0, 0, 0, 0), "Linux looks for a second hypervisor here"


@given(st.integers(0, 0xFFFF_FFFF), st.integers(0, 0xFFFF_FFFF), st.booleans())
def test_every_question_has_four_32_bit_answers(leaf: int, subleaf: int, tsc_leaf: bool) -> None:
    answer = pc_cpuid(HZ, tsc_leaf=tsc_leaf)(leaf, subleaf)
    assert len(answer) == 4
    assert all(0 <= register < 1 << 32 for register in answer)
