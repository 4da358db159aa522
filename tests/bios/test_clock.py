"""Int 08h, 1Ah, 1Ch, 70h: ticks, time and date."""

from __future__ import annotations

import pytest

from tests.bios.guest import BUFFER, EPOCH, HLT, Guest, call, start

NOON = EPOCH - EPOCH % 86400 + 43200
TICKS_A_DAY = 0x1800B0
WAIT = b"\xfb\xf4\x4d\x75\xfc\xfa\xf4"
"""sti; again: hlt; dec bp; jnz again; cli; hlt."""


def ticks(guest: Guest) -> int:
    return guest.machine.memory.u32(0x46C)


def wait(interrupts: int) -> bytes:
    return b"\xbd" + interrupts.to_bytes(2, "little") + WAIT


def test_time_and_date() -> None:
    time, date = start().ask(call(0x1A, eax=0x0200), call(0x1A, eax=0x0400))
    assert (time["cx"], time["dx"], time.carry) == (0x0333, 0x2000, False)  # 03:33:20
    assert (date["cx"], date["dx"], date.carry) == (0x2016, 0x0407, False)


def test_setting_them() -> None:
    *_, time, date = start().ask(
        call(0x1A, eax=0x0300, ecx=0x2359, edx=0x5800),
        call(0x1A, eax=0x0500, ecx=0x1999, edx=0x1231),
        call(0x1A, eax=0x0200),
        call(0x1A, eax=0x0400),
    )
    assert (time["cx"], time["dh"]) == (0x2359, 0x58)
    assert (date["cx"], date["dx"]) == (0x1999, 0x1231)


def test_without_a_clock() -> None:
    guest = start(features={"rtc": "0"})
    time, count = guest.ask(call(0x1A, stc=False, eax=0x0200), call(0x1A))
    assert time.carry
    assert (count["cx"], count["dx"]) == (0, 0)


def test_ticks_begin_with_the_time_of_day() -> None:
    count = start(epoch=NOON).one(0x1A)
    assert count["cx"] << 16 | count["dx"] == TICKS_A_DAY // 2
    assert (count["al"], count.carry) == (0, False)


def test_the_timer_ticks() -> None:
    guest = start()
    before, started = ticks(guest), guest.machine.now()
    guest.run(wait(20))
    assert ticks(guest) == before + 20
    assert guest.machine.now() - started == pytest.approx(20 * 65536 / 1193182 * 1e9, rel=0.06)
    assert guest.bios.calls == []  # interrupts of hardware are no calls


def test_programs_hear_of_ticks() -> None:
    guest = start()
    guest.machine.memory.write(BUFFER, b"\x47\xcf")  # inc di; iret
    guest.machine.memory.write(4 * 0x1C, BUFFER.to_bytes(4, "little"))
    guest.run(b"\x31\xff" + wait(5))
    assert guest.machine.cpu.get("rdi") & 0xFFFF == 5


def test_midnight() -> None:
    guest = start(epoch=NOON - 43200 - 1)
    guest.run(wait(30))  # 1.6 s
    assert ticks(guest) < 30
    assert guest.machine.memory.u8(0x470) == 1
    later = start()
    later.machine.memory.write(0x470, b"\x01")
    first, second = later.ask(call(0x1A), call(0x1A))
    assert (first["al"], second["al"]) == (1, 0)


def test_setting_the_count() -> None:
    guest = start()
    guest.one(0x1A, eax=0x0100, ecx=0x0012, edx=0x3456)
    assert ticks(guest) == 0x123456


def test_calling_the_tick_by_instruction() -> None:
    guest = start()
    before = ticks(guest)
    guest.run(b"\xcd\x08\xcd\x08" + HLT)
    assert ticks(guest) == before + 2


def test_the_clock_interrupts_again_and_again() -> None:
    """RTC periodic interrupt, enabled by the guest: the BIOS's handler reads register C and ends the interrupt."""
    guest = start()
    code = b"\xb0\x0b\xe6\x70\xb0\x42\xe6\x71"  # CMOS 0Bh: PIE, 24 hours
    code += b"\xb0\xfe\xe6\xa1\xb0\xfb\xe6\x21"  # let IRQ 8 through, and nothing else
    started = guest.machine.now()
    stop = guest.run(code + wait(16))
    assert stop.reason == "halted"
    assert guest.machine.now() - started == pytest.approx(16 / 1024 * 1e9, rel=0.2)
    assert guest.machine.ports.read(0x20, 1) == 0  # in service: nothing, the last OCW3 asked for it


def test_no_pci_bios() -> None:
    after = start().one(0x1A, stc=False, eax=0xB101)
    assert after.carry
    assert after["ah"] == 0x86
    assert after["edx"] == 0
