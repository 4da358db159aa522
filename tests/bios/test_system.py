"""Int 11h, 12h, 15h. Expected values: the interrupt's documentation, and SeaBIOS's answers on QEMU where it is the judge."""

from __future__ import annotations

import struct

import pytest

from efishim.platform.definition import MIB
from tests.bios.guest import BUFFER, HLT, Guest, call, load, start

SMAP = 0x534D4150


@pytest.fixture
def guest() -> Guest:
    return start()


def test_equipment_and_conventional_memory(guest: Guest) -> None:
    equipment, memory = guest.ask(call(0x11), call(0x12))
    assert equipment["ax"] == 0x0202  # one serial port, a coprocessor; no display, no floppy
    assert memory["ax"] == 639
    assert equipment.carry  # neither touches flags
    assert memory.carry


def test_equipment_without_serial_port() -> None:
    assert start(features={"serial": "0"}).one(0x11)["ax"] == 0x0002


def test_sizes(guest: Guest) -> None:
    extended, two = guest.ask(call(0x15, eax=0x8800), call(0x15, eax=0xE801, ebx=0x7777))
    assert not extended.carry
    ram_end = max(piece.end for piece in guest.bios.memory_map() if piece.kind.value == 1)
    assert extended["ax"] == (ram_end - MIB) >> 10
    assert not two.carry
    assert two["ax"] == two["cx"] == 0x3C00
    assert two["bx"] == two["dx"] == (ram_end - 16 * MIB) >> 16


def e820_loop(size: int) -> bytes:
    """What loaders do: from EBX 0 until it is 0 again, entry after entry behind BUFFER, number of entries in BP."""
    loop = load("eax", 0xE820) + load("edx", SMAP) + load("ecx", size) + b"\xcd\x15"
    loop += b"\x72\x0b"  # jc end
    loop += b"\x01\xcf"  # add di, cx
    loop += b"\x45"  # inc bp
    loop += b"\x66\x85\xdb"  # test ebx, ebx
    back = len(loop) + 2
    loop += b"\x75" + struct.pack("b", -back)  # jnz loop
    return load("ebx", 0) + load("edi", BUFFER) + load("ebp", 0) + loop + b"\x90" * 8 + HLT


@pytest.mark.parametrize(("room", "size"), [(20, 20), (24, 24), (64, 24), (0x1_0000, 24), (23, 20)])
def test_memory_map_by_loop(guest: Guest, room: int, size: int) -> None:
    """ACPI 6.5, 15.1: the BIOS says how much it stored, at least 20 bytes."""
    guest.run(e820_loop(room))
    count = guest.machine.cpu.get("rbp")
    expected = guest.bios.memory_map()
    assert count == len(expected)
    raw = guest.buffer(size * count)
    for number, piece in enumerate(expected):
        start_, length, kind = struct.unpack_from("<QQI", raw, size * number)
        assert (start_, length, kind) == (piece.start, piece.size, piece.kind.value)
        if size == 24:
            assert struct.unpack_from("<I", raw, size * number + 20) == (1,)
    assert guest.buffer(16, BUFFER + size * count) == bytes(16), "nothing behind the last entry"


def test_memory_map_registers(guest: Guest) -> None:
    first, last = guest.ask(
        call(0x15, eax=0x1234E820 & 0xFFFF, edx=SMAP, ecx=20, edi=BUFFER),
        call(0x15, eax=0xE820, edx=SMAP, ecx=20, edi=BUFFER, ebx=len(guest.bios.memory_map()) - 1),
    )
    assert (first["eax"], first["ecx"], first.carry) == (SMAP, 20, False)
    assert first["ebx"] != 0
    assert first["edx"] == SMAP
    assert last["ebx"] == 0
    assert not last.carry


@pytest.mark.parametrize(
    "registers",
    [
        {"edx": 0, "ecx": 20},
        {"edx": SMAP, "ecx": 19},
        {"edx": SMAP, "ecx": 0},
        {"edx": SMAP, "ecx": 20, "ebx": 1000},
        {"edx": SMAP, "ecx": 20, "ebx": 0xFFFFFFFF},
    ],
)
def test_memory_map_refused(guest: Guest, registers: dict[str, int]) -> None:
    after = guest.one(0x15, stc=False, eax=0xE820, edi=BUFFER, **registers)
    assert after.carry
    assert after["ah"] == 0x86
    assert guest.buffer(24) == bytes(24)


def test_a_buffer_at_the_end_of_its_segment_wraps(guest: Guest) -> None:
    guest.ask(call(0x15, eax=0xE820, edx=SMAP, ecx=20, es=0x600, edi=0xFFF8))
    assert guest.buffer(8, 0x6000 + 0xFFF8) == struct.pack("<Q", 0)
    assert guest.buffer(12, 0x6000) == struct.pack("<QI", 0x9FC00, 1)


@pytest.mark.parametrize(("es", "edi"), [(0xF000, 0xFFF0), (0xB000, 0), (0xFFFF, 0xFFF0), (0xFFFF, 0x0008)])
def test_a_buffer_where_no_ram_is_takes_nothing(guest: Guest, es: int, edi: int) -> None:
    rom = guest.machine.memory.read(0xF0000, 0x10000)
    after = guest.one(0x15, eax=0xE820, edx=SMAP, ecx=20, es=es, edi=edi)
    assert not after.carry
    assert guest.machine.memory.read(0xF0000, 0x10000) == rom


def test_a_buffer_across_rom_and_ram(guest: Guest) -> None:
    """FFFF:0008 is 0xffff8: eight bytes of ROM, then RAM from 1 MiB on, for A20 is open."""
    guest.ask(call(0x15, eax=0xE820, edx=SMAP, ecx=20, es=0xFFFF, edi=0x0008))
    assert guest.machine.memory.read(0x100000, 12) == struct.pack("<QI", 0x9FC00, 1)


def test_a20(guest: Guest) -> None:
    on, status, support, off = guest.ask(*(call(0x15, eax=eax, ecx=5) for eax in (0x2401, 0x2402, 0x2403, 0x2400)))
    assert not on.carry
    assert on["ah"] == 0
    assert (status["ax"], status.carry) == (0x0001, False)
    assert (support["ah"], support["bx"], support.carry) == (0, 2, False)  # by port 0x92
    assert off.carry  # the gate cannot be closed
    assert off["ah"] == 0x86


def test_no_port_92() -> None:
    assert start(features={"pit": "0"}).one(0x15, eax=0x2403)["bx"] == 0


def test_configuration_table(guest: Guest) -> None:
    after = guest.one(0x15, eax=0xC000)
    assert not after.carry
    assert after["ah"] == 0
    assert (after["es"], after["bx"]) == (0xF000, 0xE6F5)  # where AT BIOSes had it, SeaBIOS too
    raw = guest.buffer(10, 0xFE6F5)
    assert struct.unpack_from("<HB", raw) == (8, 0xFC)
    assert raw[5] == 0x64  # second 8259, real-time clock, EBDA; no keyboard intercept


def test_ebda_segment(guest: Guest) -> None:
    after = guest.one(0x15, eax=0xC100)
    assert not after.carry
    assert after["es"] == 0x9FC0
    assert guest.buffer(1, 0x9FC00) == b"\x01"


def test_target_mode(guest: Guest) -> None:
    after = guest.one(0x15, eax=0xEC00, ebx=2)
    assert not after.carry
    assert after["ah"] == 0


UNKNOWN = [0x0000, 0x5300, 0x8A00, 0x8900, 0xC200, 0xD800, 0xE980, 0xE881, 0xE900, 0xFF00, 0xEC01]


def test_functions_that_are_not_there(guest: Guest) -> None:
    for eax, after in zip(UNKNOWN, guest.ask(*(call(0x15, stc=False, eax=eax) for eax in UNKNOWN)), strict=True):
        assert after.carry, hex(eax)
        assert after["ax"] == 0x8600 | eax & 0xFF
    assert guest.bios.notes()[1:3] == ["the BIOS has no int 15h/5300", "the BIOS has no int 15h/8A"]


def test_device_wait_hooks(guest: Guest) -> None:
    busy, post, intercept = guest.ask(call(0x15, eax=0x9000), call(0x15, eax=0x9100), call(0x15, stc=False, eax=0x4F1E))
    assert (busy["ax"], busy.carry, post["ax"], post.carry) == (0x9000, True, 0x9100, True), "nothing is done, as by SeaBIOS"
    assert intercept.carry  # the key is processed as it came
    assert intercept["ax"] == 0x4F1E


def event(al: int, us: int = 0) -> bytes:
    return call(0x15, eax=0x8300 | al, ecx=us >> 16, edx=us & 0xFFFF, ebx=BUFFER)


def test_event_wait(guest: Guest) -> None:
    """Int 15h/83: bit 7 of a byte is set when the time is over, and nothing else of it changes."""
    guest.machine.memory.write(BUFFER, b"\x01\x55")
    first, second, wait, _ = guest.ask(event(0, 3000), event(0, 3000), call(0x15, eax=0x8600, edx=2000), call(0x15, eax=0x8800))
    assert (first.carry, second.carry, wait.carry) == (False, True, True), "there is one at a time"
    assert (second["ah"], wait["ah"]) == (0x86, 0x83), "as by SeaBIOS"
    assert guest.buffer(2) == b"\x01\x55"
    guest.machine.clock.advance_to(guest.machine.clock.now + 4_000_000)
    guest.machine.clock.fire()
    assert guest.buffer(2) == b"\x81\x55"


def test_event_wait_is_cancelled(guest: Guest) -> None:
    guest.machine.memory.write(BUFFER, b"\x01")
    answers = guest.ask(event(1), event(0, 1000), event(1), event(0, 5000), event(1), event(2))
    assert [one.carry for one in answers] == [False, False, False, False, False, True]
    guest.machine.clock.advance_to(guest.machine.clock.now + 9_000_000)
    guest.machine.clock.fire()
    assert guest.buffer(1) == b"\x01"


def test_waiting(guest: Guest) -> None:
    before = guest.machine.now()
    after = guest.one(0x15, eax=0x8600, ecx=0x000F, edx=0x4240)  # one second
    assert not after.carry
    assert 1_000_000_000 <= guest.machine.now() - before < 1_010_000_000


def descriptor(base: int) -> bytes:
    return struct.pack("<HHBBBB", 0xFFFF, base & 0xFFFF, base >> 16 & 0xFF, 0x93, 0, base >> 24)


def test_block_move(guest: Guest) -> None:
    memory = guest.machine.memory
    memory.write(BUFFER, bytes(16) + descriptor(0x9000) + descriptor(0x0110_0000) + bytes(16))
    memory.write(0x9000, b"moved up")
    after = guest.one(0x15, eax=0x8700, ecx=4, esi=BUFFER)
    assert not after.carry
    assert after["ah"] == 0
    assert after.zero
    assert memory.read(0x110_0000, 10) == b"moved up\0\0"


@pytest.mark.parametrize("base", [0xF0000, 0xA0000, 0xE000_0000, 0xFFFF_FFFF])
def test_block_move_to_where_no_ram_is(guest: Guest, base: int) -> None:
    memory = guest.machine.memory
    rom = memory.read(0xF0000, 0x10000)
    memory.write(BUFFER, bytes(16) + descriptor(0x9000) + descriptor(base) + bytes(16))
    assert not guest.one(0x15, eax=0x8700, ecx=4, esi=BUFFER).carry
    assert memory.read(0xF0000, 0x10000) == rom


def test_too_large_a_move(guest: Guest) -> None:
    after = guest.one(0x15, stc=False, eax=0x8700, ecx=0x8001, esi=BUFFER)
    assert after.carry
    assert after["ah"] == 2


def test_code_that_was_moved_over_runs(guest: Guest) -> None:
    """The moved bytes are a call's own code: what ran there before must not run again."""
    memory = guest.machine.memory
    memory.write(0x9000, b"\xb0\x11\xc3")  # mov al, 11h; ret
    memory.write(0x9100, b"\xb0\x22\xc3")
    memory.write(BUFFER, bytes(16) + descriptor(0x9100) + descriptor(0x9000) + bytes(16))
    near = b"\xe8" + struct.pack("<h", 0x1000 - 3)  # call 0x9000, at 0x8000
    code = near + b"\x88\xc3" + load("eax", 0x8700) + load("ecx", 2) + load("esi", BUFFER) + b"\xcd\x15"
    code += b"\xe8" + struct.pack("<h", 0x1000 - len(code) - 3) + HLT
    code = code.replace(b"\x88\xc3", b"\x88\xc6", 1)  # mov dh, al
    guest.run(code)
    assert guest.machine.cpu.get("rdx") >> 8 & 0xFF == 0x11
    assert guest.machine.cpu.get("rax") & 0xFF == 0x22
