"""Asking for the memory map from the host's side gives what a guest gets, and leaves no trace."""

from __future__ import annotations

import pytest

from efishim.machine.machine import Machine
from efishim.platform.definition import MIB, PlatformDefinition, PlatformOptions
from efishim.platform.machines.hvmlite import HVMLITE
from efishim.platform.machines.kvm import KVM
from efishim.platform.machines.pc import PC
from efishim.platform.xen.inquiry import is_xen, xen_memory_map
from efishim.platform.xen.memory import e820
from tests.platform.xen.guest import Guest


@pytest.mark.parametrize("wide", [True, False])
def test_the_map_comes_through_the_hypercall(wide: bool) -> None:
    guest = Guest(wide=wide)
    guest.board.memory.write(0x1000, bytes(range(256)) * 16)
    guest.cpu.set("rax", 77)
    before = dict(guest.cpu.registers)
    assert xen_memory_map(guest.board) == e820(guest.facts.memory_map)
    assert {name: guest.cpu.get(name) for name in before} == before
    assert guest.board.memory.read(0x1000, 4096) == bytes(range(256)) * 16


def test_a_scratch_page_that_is_not_there() -> None:
    assert xen_memory_map(Guest().board, 1 << 45) is None


@pytest.mark.parametrize("profile", [PC, KVM])
def test_no_xen_no_map(profile: PlatformDefinition) -> None:
    machine = Machine()
    profile.build(machine, PlatformOptions(64 * MIB, 0))
    machine.power_on()
    assert not is_xen(machine)
    assert xen_memory_map(machine) is None


def test_on_a_real_machine() -> None:
    machine = Machine()
    facts = HVMLITE.build(machine, PlatformOptions(64 * MIB, 0))
    machine.power_on()
    machine.cpu.set("cr0", 0x11)
    assert xen_memory_map(machine) == e820(facts.memory_map)
