"""Configuration mechanism #1, reset ports, A20."""

from __future__ import annotations

import pytest

from efishim.platform.devices.pci import PciConfig, PciFunction, Port92, ResetControl, host_bridge
from tests.platform.fakes import FakeBoard

ADDRESS, DATA = 0xCF8, 0xCFC


@pytest.fixture
def board() -> FakeBoard:
    board = FakeBoard()
    reset = ResetControl(lambda: board.stop("reset"))
    board.ports.attach(ADDRESS, 8, PciConfig({0: host_bridge()}, reset), "PCI")
    board.ports.attach(0x92, 1, Port92(lambda: board.stop("reset")), "A20")
    return board


def config(board: FakeBoard, device: int, register: int, size: int = 4) -> int:
    board.ports.write(ADDRESS, 4, 1 << 31 | device << 11 | register & 0xFC)
    return board.ports.read(DATA + (register & 3), size)


def test_linux_finds_mechanism_1(board: FakeBoard) -> None:
    """arch/x86/pci/direct.c, pci_check_type1()."""
    board.ports.write(0xCFB, 1, 0x01)
    before = board.ports.read(ADDRESS, 4)
    board.ports.write(ADDRESS, 4, 0x8000_0000)
    assert board.ports.read(ADDRESS, 4) == 0x8000_0000
    board.ports.write(ADDRESS, 4, before)
    assert config(board, 0, 0x0A, 2) == 0x0600, "pci_sanity_check() wants a host bridge"


def test_host_bridge(board: FakeBoard) -> None:
    assert config(board, 0, 0x00) == 0x0008_1B36
    assert config(board, 0, 0x0E, 1) == 0x00, "header type 0, one function"
    assert [config(board, 0, bar) for bar in range(0x10, 0x28, 4)] == [0] * 6
    assert config(board, 0, 0x34, 1) == 0, "no capabilities"
    assert config(board, 0, 0x3D, 1) == 0, "no interrupt pin"


def test_sizing_a_bar_that_is_not_there(board: FakeBoard) -> None:
    config(board, 0, 0x10)
    board.ports.write(DATA, 4, 0xFFFF_FFFF)
    assert board.ports.read(DATA, 4) == 0


@pytest.mark.parametrize("device", range(1, 32))
def test_absent_devices_read_ones(board: FakeBoard, device: int) -> None:
    assert config(board, device, 0) == 0xFFFF_FFFF
    assert config(board, device, 0x0E, 1) == 0xFF
    board.ports.write(DATA, 4, 0)


def test_without_the_enable_bit_nobody_answers(board: FakeBoard) -> None:
    board.ports.write(ADDRESS, 4, 0)
    assert board.ports.read(DATA, 2) == 0xFFFF


def test_reset_control_needs_a_rising_bit(board: FakeBoard) -> None:
    board.outb(0xCF9, 0x02)
    assert not board.stops
    board.outb(0xCF9, 0x06)
    assert board.stops == ["reset"]
    board.outb(0xCF9, 0x06)
    assert board.stops == ["reset"]
    assert board.inb(0xCF9) == 0x06


def test_port_92(board: FakeBoard) -> None:
    assert board.inb(0x92) & 2, "A20 is open"
    board.outb(0x92, 0x00)
    assert board.inb(0x92) & 2, "and stays open"
    assert not board.stops
    board.outb(0x92, 0x03)
    assert board.stops == ["reset"]


def test_a_function_keeps_its_fixed_bits() -> None:
    function = PciFunction(b"\x12\x34", {0x3C: 0xFF, 0x04: 0x07})
    function.write(0x00, 4, 0)
    function.write(0x04, 2, 0xFFFF)
    assert function.read(0x00, 2) == 0x3412
    assert function.read(0x04, 2) == 0x0007
    function.write(0xFE, 4, 0xFFFF_FFFF)
    assert len(function.config) == 256
