"""The registers that gdb sees."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from efishim.debug.registers import FIXED, REGISTERS, SIZES, description, read, write
from efishim.machine.machine import Machine
from tests.machine.guest import CODE64, DATA32, long_mode, protected, real


def test_the_description_has_every_register_in_order() -> None:
    root = ElementTree.fromstring(description())
    rows = sorted((int(row.attrib["regnum"]), int(row.attrib["bitsize"])) for row in root.iter("reg"))
    assert rows == [(number, 8 * size) for number, (_, size) in enumerate(REGISTERS)]
    assert root.findtext("architecture") == "i386:x86-64"
    names = {row.attrib["name"] for row in root.iter("reg")}
    assert {"fctrl", "fstat", "ftag", "st7", "xmm15", "mxcsr", "cr4", "efer", "k_gs_base"} <= names


@pytest.mark.parametrize("name", [name for name, _ in REGISTERS])
def test_what_is_written_is_read(name: str) -> None:
    machine = long_mode(b"\xf4")
    before = read(machine, name)
    assert len(before) == SIZES[name]
    assert write(machine, name, before)
    changed = {
        "eflags": 0x47,
        "cr0": 0x80050033,
        "cr3": 0x101000,
        "cr4": 0x6A0,
        "efer": 0x501,
        "cs": CODE64,
        "mxcsr": 0x1FA0,
        "fcw": 0x27F,
    }
    changed |= dict.fromkeys(("ss", "ds", "es", "fs", "gs"), DATA32)
    wanted = changed.get(name, 0x1234)
    data = wanted.to_bytes(SIZES[name], "little")
    if write(machine, name, data):
        assert read(machine, name) == data
    else:
        assert name in FIXED
        assert read(machine, name) == before


@pytest.mark.parametrize("selector", [0, 0x18, 0x20, 0xC])
def test_a_selector_without_a_fitting_descriptor_is_refused(selector: int) -> None:
    machine = protected(b"\xf4")
    before = read(machine, "ds")
    assert not write(machine, "ds", selector.to_bytes(4, "little"))
    assert read(machine, "ds") == before


def test_a_segment_in_real_mode_has_the_base_of_its_selector() -> None:
    machine: Machine = real(b"\xf4")
    assert write(machine, "ds", (0x1234).to_bytes(4, "little"))
    assert machine.cpu.get("ds.base") == 0x12340
