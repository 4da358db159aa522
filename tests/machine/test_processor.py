"""Registers by name and linear memory, as devices and firmware see them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

from efishim.errors import MachineError
from efishim.machine.cpu import GuestFault
from efishim.machine.env import Env, Pending, derive_hflags, verify
from efishim.machine.machine import Machine
from efishim.machine.processor import GPRS, HELD, NoProcessor
from efishim.wire.x86 import PF_P, PF_W
from tests.machine.guest import CODE64, DATA, DATA32, ORIGIN, RAM, TABLES, long_mode, protected, real


def test_general_registers_keep_64_bits() -> None:
    cpu = long_mode(b"\xf4").cpu
    for number, name in enumerate(GPRS):
        cpu.set(name, 0x0123456789ABCDEF + number)
    assert [cpu.get(name) for name in GPRS] == [0x0123456789ABCDEF + number for number in range(16)]
    cpu.set("rip", 1 << 64 | 0x1234)
    assert cpu.get("rip") == 0x1234


def test_names_are_those_of_the_encoding() -> None:
    # MOV EAX, 1 and so on through MOV EDI, 8: the registers in the order of their numbers
    machine = protected(b"".join(bytes((0xB8 + number, number + 1, 0, 0, 0)) for number in range(8)) + b"\xf4")
    machine.run()
    assert [machine.cpu.get(name) for name in GPRS[:8]] == list(range(1, 9))


def test_flags_are_what_the_guest_computed() -> None:
    # MOV AL, 0xFF; ADD AL, 1; STD; HLT: CF, PF, AF, ZF and DF
    machine = protected(b"\xb0\xff\x04\x01\xfd\xf4")
    machine.run()
    assert machine.cpu.get("eflags") == 0x457
    machine.cpu.set("eflags", 0x202)
    assert machine.cpu.get("eflags") == 0x202


def test_control_registers() -> None:
    cpu = long_mode(b"\xf4").cpu
    assert (cpu.get("cr0"), cpu.get("cr3"), cpu.get("cr4"), cpu.get("efer")) == (0x80010033, TABLES, 0x620, 0xD01)
    cpu.set("cr2", 0x123456789ABC)
    assert cpu.get("cr2") == 0x123456789ABC
    assert cpu.get("cr8") == 0


def test_segments() -> None:
    cpu = long_mode(b"\xf4").cpu
    assert (cpu.get("cs"), cpu.get("ds"), cpu.get("cs.flags")) == (CODE64, DATA32, 0x00AF9B00)
    cpu.set("fs_base", 0xFFFF800012345678)
    cpu.set("gs_base", 0x1234)
    assert (cpu.get("fs_base"), cpu.get("fs.base"), cpu.get("gs_base")) == (0xFFFF800012345678, 0xFFFF800012345678, 0x1234)
    for name, value in (("gdtr.base", 0xFFFF800000001000), ("idtr.base", 5), ("gdtr.limit", 0x7F), ("idtr.limit", 0xFFF)):
        cpu.set(name, value)
        assert cpu.get(name) == value
    for name in HELD:
        assert isinstance(cpu.get(name), int)


@pytest.mark.parametrize("name", ["eax", "cr1", "cs.size", "", "xmm0", "rip.base", "r16", "tr.selector"])
def test_unknown_names(name: str) -> None:
    cpu = protected(b"\xf4").cpu
    with pytest.raises(KeyError):
        cpu.get(name)
    with pytest.raises(KeyError):
        cpu.set(name, 0)


@pytest.mark.parametrize("name", ["cs", "ss", "tr", "cs.base"])
def test_selectors_alone_cannot_be_set(name: str) -> None:
    with pytest.raises(KeyError):
        protected(b"\xf4").cpu.set(name, 8)


def test_modes() -> None:
    assert [make(b"\xf4").engine.processor.mode for make in (real, protected, long_mode)] == [16, 32, 64]
    assert protected(b"\xf4").engine.processor.cpl == 0


def test_linear_memory_goes_through_the_tables() -> None:
    machine = long_mode(b"\xf4")
    machine.memory.put_u64(TABLES + 0x2000 + 8 * 5, 0x200083)  # 10 MiB leads to 2 MiB
    machine.memory.put_u64(TABLES + 0x2000 + 8 * 6, 0)
    cpu = machine.cpu
    cpu.write(0xA00000, b"through the tables")
    assert machine.memory.read(DATA, 18) == b"through the tables"
    assert cpu.read(0xA00008, 10) == b"the tables"
    assert cpu.translate(0xA00123) == 0x200123
    with pytest.raises(GuestFault) as fault:
        cpu.read(0xBFFFFE, 4)
    assert (fault.value.address, fault.value.write, fault.value.error) == (0xC00000, False, 0)
    before = machine.memory.read(0x3FFFF0, 16)
    with pytest.raises(GuestFault) as fault:
        cpu.write(0xBFFFF0, bytes(32))
    assert fault.value.error == PF_W
    assert machine.memory.read(0x3FFFF0, 16) == before, "nothing is stored when any of it cannot be"


def test_write_protection_is_honoured() -> None:
    machine = long_mode(b"\xf4")
    machine.memory.put_u64(TABLES + 0x2000 + 8 * 5, 0x200081)
    with pytest.raises(GuestFault) as fault:
        machine.cpu.write(0xA00000, b"no")
    assert (fault.value.write, fault.value.error) == (True, PF_P | PF_W), "the page is there"
    with pytest.raises(GuestFault):
        machine.cpu.translate(0xA00000, write=True)
    assert machine.cpu.read(0xA00000, 2) == bytes(2)


def test_linear_memory_that_is_no_ram() -> None:
    machine = protected(b"\xf4")
    for address in (RAM, RAM - 2, 0xFFFFFFFE):
        with pytest.raises(GuestFault):
            machine.cpu.read(address, 4)
        with pytest.raises(GuestFault):
            machine.cpu.write(address, bytes(4))
    assert machine.cpu.read(ORIGIN, 0) == b""


def test_rom_cannot_be_written() -> None:
    def add_rom(machine: Machine) -> None:
        machine.memory.add(0xFFFF0000, 0x10000, name="rom", writable=False)

    machine = protected(b"\xf4", prepare=add_rom)
    assert machine.cpu.read(0xFFFFFFF0, 2) == bytes(2)
    with pytest.raises(GuestFault):
        machine.cpu.write(0xFFFFFFF0, b"no")


def test_before_the_machine_is_on() -> None:
    cpu = NoProcessor()
    calls = [
        lambda: cpu.get("rax"),
        lambda: cpu.set("rax", 0),
        lambda: cpu.read(0, 1),
        lambda: cpu.write(0, b""),
        lambda: cpu.translate(0),
    ]
    for call in calls:
        with pytest.raises(MachineError, match="not on"):
            call()


# The state in place


def test_a_state_of_another_shape_is_refused() -> None:
    buffer = ctypes.create_string_buffer(8192)
    with pytest.raises(MachineError, match="elsewhere"):
        verify(ctypes.addressof(buffer), lambda _register, _value: None)


def offset(structure: type[ctypes.Structure], name: str) -> int:
    """Where a field lies; for ctypes it is an attribute of the descriptor, which stubs do not have."""
    return int(getattr(structure, name).offset)


def test_offsets_that_qemu_5_gives_on_x86_64() -> None:
    """target/i386/cpu.h: sixteen registers, eip, eflags, the condition codes, then hflags and the segments of 24 bytes."""
    assert [offset(Env, name) for name in ("eip", "eflags", "hflags", "es")] == [128, 136, 176, 184]
    assert offset(Env, "cr") == 184 + 10 * 24
    assert offset(Pending, "error_code") == 0
    assert offset(Pending, "old_exception") == 112, "as far as the field notes say"


FAR_32 = b"\xea\x20\x80\x00\x00\x08\x00"
"""JMP 0008:00008020."""


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (real, b"\x8c\xd8\x8e\xc0\xea\x06\x00\x00\x08" + b"\x90\xf4"),  # MOV AX, DS; MOV ES, AX; JMP 0800:0006
        (protected, b"\x66\xb8\x10\x00\x8e\xd8\x8e\xc0\x8e\xd0" + FAR_32),
        (long_mode, b"\x66\xb8\x10\x00\x8e\xd8\x8e\xc0\x8e\xd0\x6a\x18\x68\x20\x80\x00\x00\x48\xcb"),  # ... RETFQ
        (long_mode, b"\x6a\x08\x68\x20\x80\x00\x00\x48\xcb"),  # to compatibility mode
        (protected, b"\x0f\x20\xc0\x24\xfd\x0f\x22\xc0\xf4"),  # CR0 without MP
        (long_mode, b"\x0f\x20\xc0\x0c\x08\x0f\x22\xc0\xf4"),  # CR0.TS
        (long_mode, b"\x31\xc0\xb0\x20\x0f\x22\xe0\xf4"),  # CR4 with PAE alone
    ],
)
def test_derived_flags_are_those_of_the_engine(make: Callable[[bytes], Machine], code: bytes) -> None:
    """What the guest's own loads leave in hflags is what we derive from the registers."""
    machine = make(code)
    machine.memory.write(ORIGIN + 0x20, b"\xf4")
    assert machine.run(max_insns=50).reason == "halted"
    env = machine.engine.env
    there = env.hflags
    derive_hflags(env, 0)
    assert env.hflags == there
