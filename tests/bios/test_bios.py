"""The BIOS as a whole: what lies where, what ends a run, what the log says."""

from __future__ import annotations

import struct

import pytest

from efishim.bios.bios import Bios
from efishim.bios.config import BiosConfig
from efishim.errors import MachineError
from efishim.machine.machine import Machine
from efishim.platform.definition import MIB, PlatformOptions
from efishim.platform.machines.pc import PC
from tests.bios.guest import BUFFER, CODE, HLT, Guest, call, load, start


@pytest.fixture
def guest() -> Guest:
    return start()


def test_vectors_lead_into_the_rom(guest: Guest) -> None:
    vectors = struct.unpack("<512H", guest.buffer(1024, 0))
    for number in range(256):
        offset, segment = vectors[2 * number : 2 * number + 2]
        if 0x60 <= number < 0x68:
            assert (offset, segment) == (0, 0)  # for programs
        else:
            assert segment == 0xF000
            assert guest.buffer(2, 0xF0000 + offset) == b"\xe6\xe4"
    assert len(set(zip(vectors[::2], vectors[1::2], strict=True))) == 256 - 8 + 1


def test_data_area(guest: Guest) -> None:
    memory = guest.machine.memory
    assert memory.u16(0x400) == 0x3F8
    assert memory.read(0x402, 6) == bytes(6)
    assert memory.u16(0x40E) == 0x9FC0
    assert memory.u16(0x410) == 0x0202
    assert memory.u16(0x413) == 639
    assert (memory.u16(0x41A), memory.u16(0x41C), memory.u16(0x480), memory.u16(0x482)) == (0x1E, 0x1E, 0x1E, 0x3E)
    assert memory.u8(0x475) == 0  # hard disks
    assert memory.u16(0x472) == 0  # a cold start


def test_date_and_model(guest: Guest) -> None:
    assert guest.buffer(1, 0xFFFFE) == b"\xfc"
    date = guest.buffer(8, 0xFFFF5)
    assert date[2:3] == date[5:6] == b"/"
    assert guest.buffer(1, 0xFFFF0) == b"\xea"


@pytest.mark.parametrize("features", [{}, {"bios_area": "1"}])
def test_anchors_where_kernels_without_efi_search(features: dict[str, str]) -> None:
    guest = start(features=features)
    rsdp = guest.buffer(36, 0xF0000)
    assert rsdp[:8] == b"RSD PTR "
    assert sum(rsdp[:20]) % 256 == sum(rsdp) % 256 == 0
    smbios = guest.buffer(24, 0xF0040)
    assert smbios[:5] == b"_SM3_"
    assert sum(smbios) % 256 == 0


def test_without_tables_there_are_no_anchors() -> None:
    rom = start(features={"acpi": "0", "smbios": "0"}).buffer(0x10000, 0xF0000)
    assert b"RSD PTR " not in rom
    assert b"_SM3_" not in rom


@pytest.mark.parametrize("vector", [0x18, 0x19])
def test_giving_up(guest: Guest, vector: int) -> None:
    stop = guest.run(bytes((0xCD, vector)) + HLT)
    assert stop.reason == "image returned to the BIOS, which has nothing else to boot"
    assert guest.bios.calls[0].service == f"int {vector:02X}h"


def test_a_jump_to_the_power_on_address_is_a_reset(guest: Guest) -> None:
    assert guest.run(b"\xea\x00\x00\xff\xff").reason == "reset"


@pytest.mark.parametrize(
    ("code", "name", "at"),
    [(b"\x31\xc9\xf7\xf1", "#DE", CODE + 2), (b"\x90\x0f\x0b", "#UD", CODE + 1), (b"\xff\xff", "#UD", CODE)],
)
def test_an_exception_ends_the_run(guest: Guest, code: bytes, name: str, at: int) -> None:
    assert guest.run(code).reason == f"firmware exception: {name} in real mode at {at:#x}"


@pytest.mark.parametrize("vector", [0x00, 0x05, 0x07, 0x0D, 0x21, 0x80, 0xFF])
def test_interrupts_that_nobody_serves_return(guest: Guest, vector: int) -> None:
    after = guest.one(vector, eax=0x1234, ebx=5, ecx=6, edx=7)
    assert [after[name] for name in ("eax", "ebx", "ecx", "edx")] == [0x1234, 5, 6, 7]
    assert after.carry
    assert guest.bios.notes() == [f"the BIOS has no int {vector:02X}h/12"]


@pytest.mark.parametrize("vector", [1, 2, 3, 4, *range(0x08, 0x10), *range(0x70, 0x78)])
def test_interrupts_of_hardware_called_by_instruction_return(guest: Guest, vector: int) -> None:
    guest.one(vector, eax=0x1234)
    assert guest.machine.ports.read(0x21, 1) == 0xFA  # timer and cascade, as before


def test_interrupts_are_where_the_at_has_them(guest: Guest) -> None:
    """IRQ 0 to 7 at vector 8, IRQ 8 to 15 at vector 70h, the timer at 18.2 Hz: the setup code runs with interrupts on."""
    assert guest.machine.ports.read(0xA1, 1) == 0xFF
    assert guest.run(b"\xfb" + HLT + b"\xfa" + HLT).reason == "halted"
    assert guest.machine.now() > 50_000_000


def test_flags_come_back(guest: Guest) -> None:
    """A service changes CF and ZF of the caller and nothing else; IF is among what IRET brings back."""
    code = b"\xfb\xfd\xb8\x00\x88\xcd\x15\x9c\x5b\xfa" + HLT  # sti; std; mov ax, 8800h; int 15h; pushf; pop bx; cli
    guest.run(code)
    assert guest.machine.cpu.get("rbx") & 0x601 == 0x600


def test_a_stack_that_wraps(guest: Guest) -> None:
    guest.machine.cpu.set("rsp", 2)
    guest.run(b"\xf9\xb8\x00\x88\xcd\x15\x9c\x5b" + HLT)
    assert guest.machine.cpu.get("rbx") & 1 == 0
    assert guest.machine.cpu.get("rsp") & 0xFFFF == 2


@pytest.mark.slow
def test_a_stack_where_no_ram_is(guest: Guest) -> None:
    """What was pushed is lost, so IRET goes to FFFF:FFFF. Nothing of ours breaks."""
    code = load("eax", 0xB000) + b"\x8e\xd0\xb8\x01\xe8\xcd\x15" + HLT
    stop = guest.run(code, max_insns=10_000)
    assert stop.reason == "insn limit"


def test_the_trap_port_in_other_code_does_nothing(guest: Guest) -> None:
    guest.run(b"\xb0\x10\xe6\xe4" + HLT)
    assert guest.bios.calls == []
    assert guest.machine.cpu.get("rax") & 0xFF == 0x10


def test_a_stub_in_protected_mode_does_nothing(guest: Guest) -> None:
    gdt = struct.pack("<3Q", 0, 0x00009B00F0000000 | 0x000F_0000_0000_FFFF, 0)
    guest.machine.memory.write(BUFFER, struct.pack("<HI", 23, BUFFER + 8) + b"\0\0" + gdt)
    lgdt = b"\x0f\x01\x16" + struct.pack("<H", BUFFER)
    stub = 0xC000 + 8 * 0x12
    guest.run(lgdt + b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0" + b"\xea" + struct.pack("<HH", stub, 8), max_insns=1000)
    assert guest.bios.calls == []


def test_the_log(guest: Guest) -> None:
    guest.ask(
        call(0x15, eax=0xE820, edx=0x534D4150, ecx=20, edi=BUFFER),
        call(0x15, stc=False, eax=0x5300),
        *(call(0x10, eax=0x0E00 | byte) for byte in b"text\nmore"),
        call(0x11),
    )
    first, second = guest.bios.calls[:2]
    assert first.service == "int 15h/E820"
    assert dict(first.args) | {"eax": "0xe820", "ecx": "0x14", "edi": f"{BUFFER:#x}"} == dict(first.args)
    assert first.status == "CF=0"
    assert dict(first.results) == {"eax": "0x534d4150", "ebx": "0x1"}
    assert CODE < first.caller < CODE + 0x60
    assert (second.service, second.status) == ("int 15h/5300", "CF=1 AH=86")
    assert 0 < first.insns < second.insns
    assert guest.bios.calls[-1].service == "int 11h"
    assert guest.bios.calls_dropped == 0


def test_polling_and_text_are_one_entry_each(guest: Guest) -> None:
    loop = b"\xbe\x00\x60\xac\x3c\x00\x74\x06\xb4\x0e\xcd\x10\xeb\xf5"  # lodsb; int 10h/0E until 0
    poll = b"\xb9\x05\x00\xb4\x01\xcd\x16\x90\xe2\xf9" + HLT  # five times int 16h/01, with CX in the way
    guest.machine.memory.write(BUFFER, b"one\ntwo\n\0")
    guest.run(loop + poll)
    texts = [call.args for call in guest.bios.calls if call.service == "int 10h/0E"]
    assert texts == [(("text", "one\n"),), (("text", "two\n"),)]
    assert guest.bios.calls[0].repeats == 4


def test_the_log_has_an_end(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efishim.bios.call_log.LOG_LIMIT", 3)
    guest.ask(*(call(0x12, ebx=number) for number in range(5)))
    assert len(guest.bios.calls) == 3
    assert guest.bios.calls_dropped == 2


def test_a_machine_with_next_to_nothing() -> None:
    """Without controllers and timer no interrupt comes; what is asked is answered all the same."""
    off = ("serial", "pic", "pit", "rtc", "pci", "acpi", "smbios", "mtrr")
    guest = start(features=dict.fromkeys(off, "0"))
    equipment, size, tick, exception = guest.ask(call(0x11), call(0x15, eax=0x8800), call(0x08), call(0x0D, eax=0x1200))
    assert equipment["ax"] == 0x0002
    assert size["ax"] > 0
    assert (tick["eax"], exception["eax"]) == (0, 0x1200)
    assert guest.bios.calls[-1].service == "int 0Dh/12"


def test_a_second_user_of_the_trap_is_refused(guest: Guest) -> None:
    with pytest.raises(MachineError, match="trap"):
        Bios(guest.machine, BiosConfig.of(guest.facts), guest.text.append)


def test_a_machine_without_rom() -> None:
    machine = Machine()
    machine.memory.add(0, 0xA0000)
    other = Machine()
    facts = PC.build(other, PlatformOptions(32 * MIB, 0))
    with pytest.raises(MachineError, match="0xf0000"):
        Bios(machine, BiosConfig(memory=facts.memory_map), lambda text: None)


@pytest.mark.slow
def test_any_registers_to_any_service() -> None:
    """Hostile arguments: every function of every interrupt gets values at the edges."""
    wild = [0x0000FFFF, 0xFFFFFFFF, 0x80008000]
    vectors = [v for v in range(0x10, 0x1B) if v not in (0x16, 0x18, 0x19)]  # these end runs
    count = 0
    for vector in vectors:
        for value in wild:
            calls = [
                call(
                    vector, eax=function << 8 | value & 0xFF, ebx=value, ecx=value & 0xFFFF00FF, edx=value, esi=value, edi=value
                )
                for function in range(256)
                if not (vector == 0x15 and function == 0x86)
            ]
            for part in (calls[:128], calls[128:]):
                fresh = start()
                fresh.ask(*part)
                count += len(part)
    assert count > 3 * 8 * 255
