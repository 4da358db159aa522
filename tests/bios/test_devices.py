"""Int 13h and 14h."""

from __future__ import annotations

import pytest

from tests.bios.guest import Guest, call, start


@pytest.fixture
def guest() -> Guest:
    return start()


@pytest.mark.parametrize("function", [0x02, 0x03, 0x08, 0x15, 0x41, 0x42, 0x48, 0x4B, 0xFF])
def test_there_is_no_hard_disk(guest: Guest, function: int) -> None:
    """Status 1, as SeaBIOS gives for a drive that does not exist."""
    after, status = guest.ask(
        call(0x13, stc=False, eax=function << 8 | 1, ebx=0x55AA, edx=0x80), call(0x13, eax=0x100, edx=0x80)
    )
    assert after.carry
    assert after["ax"] == 0x0101
    assert (after["ebx"], after["edx"]) == (0x55AA, 0x80)
    assert status["ah"] == 1
    assert guest.buffer(1, 0x474) == b"\x01"


def test_every_drive_is_missing(guest: Guest) -> None:
    for after in guest.ask(*(call(0x13, stc=False, eax=0x4100, ebx=0x55AA, edx=drive) for drive in range(0x80, 0x90))):
        assert after.carry
        assert after["bx"] == 0x55AA  # 0xAA55 would announce the extensions


def test_no_floppy_drive(guest: Guest) -> None:
    reset, parameters, read = guest.ask(
        call(0x13, eax=0), call(0x13, eax=0x0800, edx=0x7000), call(0x13, stc=False, eax=0x0201, ecx=1)
    )
    assert not reset.carry
    assert not parameters.carry
    assert parameters["dl"] == 0  # none
    assert read.carry
    assert guest.buffer(1, 0x441) == b"\x01"


def test_serial_output(guest: Guest) -> None:
    status, *sent, nobody = guest.ask(
        call(0x14, eax=0x00E3), *(call(0x14, eax=0x0100 | byte) for byte in b"hello"), call(0x14, eax=0x0141, edx=1)
    )
    assert guest.serial == b"hello"
    assert status["ah"] & 0x20  # room to send
    assert all(not after["ah"] & 0x80 for after in sent)
    assert nobody["ax"] == 0x0141  # no such port: SeaBIOS does nothing


def test_serial_settings_and_input(guest: Guest) -> None:
    assert guest.facts.console is not None
    guest.facts.console.feed(b"k")
    (_, received, empty, status) = guest.ask(
        call(0x14, eax=0x0083), call(0x14, eax=0x0200), call(0x14, eax=0x0200), call(0x14, eax=0x0300)
    )
    ports = guest.machine.ports
    ports.write(0x3FB, 1, ports.read(0x3FB, 1) | 0x80)
    assert ports.read(0x3F8, 1) | ports.read(0x3F9, 1) << 8 == 115200 // 1200
    assert received["ax"] == ord("k")
    assert empty["ah"] == 0x80
    assert status["ah"] & 0x60 == 0x60


def test_unknown_serial_function(guest: Guest) -> None:
    guest.one(0x14, eax=0x0900)
    assert guest.bios.notes() == ["the BIOS has no int 14h/09"]
