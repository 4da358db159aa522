"""The two entry states against boot.rst, and against what loads from their descriptors."""

from __future__ import annotations

import pytest
from efishim_plugins.boot_params import states

from efishim.provider import CpuMode, CpuState

STATES = [states.protected(0x100_0000, 0x9_0000), states.long(0x100_0200, 0x9_0000)]


@pytest.mark.parametrize("state", STATES, ids=["32", "64"])
def test_boot_rst(state: CpuState) -> None:
    # "%esi must hold the base address of the struct boot_params; %ebp, %edi and %ebx must be zero", interrupts disabled,
    # __BOOT_CS 0x10 and __BOOT_DS 0x18 flat; registers that are not named are zero
    assert state.registers["rsi"] == 0x9_0000
    assert not {"rbp", "rdi", "rbx"} & set(state.registers)
    assert not state.registers["eflags"] & 1 << 9
    assert state.segments["cs"].selector == 0x10
    assert {state.segments[name].selector for name in ("ds", "es", "ss")} == {0x18}
    assert all((one.base, one.limit) == (0, 0xFFFF_FFFF) for one in state.segments.values())


@pytest.mark.parametrize("state", STATES, ids=["32", "64"])
def test_segments_are_what_their_descriptors_say(state: CpuState) -> None:
    for one in state.segments.values():
        word = state.descriptors[one.selector >> 3]
        assert one.attributes == word >> 40 & 0xF0FF
        limit = (word & 0xFFFF | (word >> 48 & 0xF) << 16) << 12 | 0xFFF
        assert one.limit == limit


def test_modes() -> None:
    assert (STATES[0].mode, STATES[0].identity_map) == (CpuMode.PROTECTED, 0)
    assert (STATES[1].mode, STATES[1].identity_map) == (CpuMode.LONG, 4 << 30)


def test_a_loaders_own_registers() -> None:
    state = states.long(1, 2, rsp=3, cr0=4)
    assert (state.registers["rsp"], state.registers["cr0"], state.registers["rsi"]) == (3, 4, 2)
