"""Where QEMU's machine `pc` has RAM, and that both sides see the same bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from efishim.machine.memory import BusError
from efishim.oracle.ram import SharedRam

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def ram() -> Iterator[SharedRam]:
    shared = SharedRam(64 * MIB)
    yield shared
    shared.close()


def test_what_qemu_writes_is_read(ram: SharedRam) -> None:
    os.pwrite(ram.descriptor, b"low", 0x7C00)
    os.pwrite(ram.descriptor, b"high", 64 * MIB - 4)
    assert ram.read(0x7C00, 3) == b"low"
    assert ram.read(64 * MIB - 4, 4) == b"high"


@pytest.mark.parametrize(("address", "size"), [(0xA0000, 1), (0xBFFFF, 1), (0x9FFFF, 2), (64 * MIB - 1, 2), (0xFFFFFFF0, 1)])
def test_the_display_and_what_is_no_ram_are_not_read(ram: SharedRam, address: int, size: int) -> None:
    with pytest.raises(BusError):
        ram.read(address, size)


def test_much_ram_goes_on_above_4_gib() -> None:
    """hw/i386/pc_piix.c: from 3.5 GiB on, 3 GiB lie below the hole."""
    ram = SharedRam(4 * GIB)
    try:
        os.pwrite(ram.descriptor, b"above", 3 * GIB)
        assert ram.read(4 * GIB, 5) == b"above"
        assert ram.find(3 * GIB) is None
        assert ram.find(5 * GIB - 1) is not None
        assert ram.find(5 * GIB) is None
    finally:
        ram.close()


def test_it_is_not_written_to(ram: SharedRam) -> None:
    with pytest.raises(TypeError):
        ram.write(0x1000, b"x")
