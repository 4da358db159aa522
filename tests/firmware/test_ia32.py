"""32-bit firmware under real 32-bit code: tables, arguments on the stack, statuses in EAX, calls back into the program."""

from __future__ import annotations

import struct
import zlib
from random import Random

import pytest

from efishim.firmware.calling.status import Status, from_32_bit, to_32_bit
from tests.firmware.ia32 import (
    BOOT_SERVICES,
    CON_OUT,
    CONTEXT,
    COUNT,
    EVENT,
    HANDLE,
    INVALID,
    KEPT,
    NOT_FOUND,
    NOTIFY,
    OUT_OF_RESOURCES,
    RAM,
    SUCCESS,
    SYSTEM_TABLE,
    TOO_SMALL,
    UNSUPPORTED,
    At,
    Program,
    Wide,
    image,
    machine_of,
)

LOADED_IMAGE = "5b1b31a1-9562-11d2-8e3f-00a0c969723b"
DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
LOAD_FILE2 = "4006c0c1-fcb3-403e-996d-4a6c8724e06d"
GRAPHICS = "9042a9de-23dc-4a38-96fb-7aded080516a"
RNG = "3152bca5-eade-433d-862e-c01cdc291f44"
INITRD_PATH = bytes.fromhex("0403140027e46855fc683d4fac74ca555231cc687fff0400")
OWN = "12345678-1234-1234-1234-123456789abc"
TIMER_SIGNAL, PERIODIC, RELATIVE = 0x80000200, 1, 2


OVMF = {
    "cr0": 0x80010033,
    "cr4": 0x668,
    "efer": 0x800,
    "cs": 0x10,
    "ds": 0x08,
    "es": 0x08,
    "fs": 0x08,
    "gs": 0x08,
    "ss": 0x08,
    "gdtr.limit": 0x47,
    "idtr.limit": 0x7FF,
    "fcw": 0x27F,
    "mxcsr": 0x1F80,
}
"""Registers in boot services of the 32-bit build of OVMF 2022.11, on QEMU 7.2 (q35)."""


def checked(program: Program, address: int, size: int) -> bytes:
    """A table with a right CRC."""
    data = bytearray(program.machine.memory.read(address, size))
    crc, data[16:20] = bytes(data[16:20]), bytes(4)
    assert zlib.crc32(data).to_bytes(4, "little") == crc
    assert int.from_bytes(data[12:16], "little") == size, "HeaderSize"
    return bytes(data)


def test_tables_have_pointers_of_four_bytes() -> None:
    program = Program(rsdp=0x9000, vendor="four")
    program.machine.memory.write(0x9000, b"RSD PTR \0\0\0\0\0\0\0\2")
    program.run()
    system = program.word(SYSTEM_TABLE)
    assert system == program.shim.tables.system
    words = struct.unpack_from("<12I", checked(program, system, 72), 24)
    vendor, _, _, _, _, con_out, _, _, runtime, boot, count, tables = words
    assert program.machine.memory.read(vendor, 10) == "four\0".encode("utf-16-le")
    assert program.word(CON_OUT) == con_out
    assert checked(program, boot, 24 + 4 * 44)[:8] == b"BOOTSERV"
    assert checked(program, runtime, 24 + 4 * 14)[:8] == b"RUNTSERV"
    entries = [program.machine.memory.read(tables + 20 * n, 20) for n in range(count)]
    acpi = bytes.fromhex("30 2d9deb 882d d311 9a16 0090273fc14d".replace(" ", ""))
    assert (acpi, 0x9000) in [(entry[:16], int.from_bytes(entry[16:], "little")) for entry in entries]


def test_the_calling_state() -> None:
    """2.3.2: protected mode, flat segments, interrupts on, 128 KiB of aligned stack; the rest as OVMF has it."""
    machine, shim, _ = machine_of()
    shim.boot(image(b"\xc3"))
    cpu = machine.cpu
    for register, value in OVMF.items():
        assert cpu.get(register) == value, register
    assert cpu.get("eflags") & 0x600 == 0x200
    assert cpu.get("rsp") % 16 == 12, "16 bytes of alignment before the return address was pushed"
    stack = shim.memory_map.find(cpu.get("rsp"))
    assert stack is not None
    assert stack.type == 4
    assert cpu.get("rsp") - stack.start >= 120 << 10
    gdt = cpu.get("gdtr.base")
    code, data = (machine.memory.u64(gdt + cpu.get(register)) for register in ("cs", "ss"))
    assert cpu.get("ds") == cpu.get("es") == cpu.get("ss")
    assert code & ~(5 << 40) == 0x00CF_9A00_0000_FFFF, "32-bit code of 4 GiB (it may be conforming and was accessed)"
    assert data | 1 << 40 == 0x00CF_9300_0000_FFFF, "data of 4 GiB"
    handle, table = struct.unpack("<II", machine.memory.read(cpu.get("rsp") + 4, 8))
    assert shim.images.is_image(handle)
    assert table == shim.tables.system


def test_64_bit_numbers_take_two_slots() -> None:
    program = Program()
    pages, pool = program.cell(0, 0), program.cell()
    program.bs("AllocatePages", 0, 2, 3, pages)
    program.bs("AllocatePool", 4, 100, pool)
    program.bs("FreePages", At(pages), 0, 3)
    program.bs("FreePages", Wide(0x1_0000_0000), 3)
    program.bs("FreePool", At(pool))
    program.bs("SetWatchdogTimer", 10, Wide(0x1_0000_0000), 0, 0)
    program.bs("SetWatchdogTimer", 10, Wide(0xFFFF), 0, 0)
    program.run()
    assert program.statuses() == [SUCCESS, SUCCESS, SUCCESS, NOT_FOUND, SUCCESS, SUCCESS, INVALID]
    assert 0 < program.word(pages, 8) < RAM
    assert [c.args for c in program.shim.calls][2] == (("Memory", hex(program.word(pages, 8))), ("Pages", "0x3"))


def test_memory_is_below_4_gib() -> None:
    """There is more above, and the map says so, but it is not for 32-bit firmware to give."""
    above = (4 << 30, 1 << 30, 1)
    program = Program(memory=((0, 0xA0000, 1), (1 << 20, RAM - (1 << 20), 1), above))
    pages, wanted, size = program.cell(0, 0), program.cell(0, 1), program.cell(0x2000)
    buffer = program.cell()
    program.bs("AllocatePages", 0, 2, (RAM >> 12) + 1, pages)
    program.bs("AllocatePages", 2, 2, 1, wanted)
    program.bs("AllocatePages", 1, 2, 1, program.cell(0xFFFFFFFF, 0xFF))
    program.bs("AllocatePool", 2, 0x2000, buffer)
    program.bs("GetMemoryMap", size, At(buffer), program.cell(), program.cell(), program.cell())
    program.run()
    assert program.statuses() == [OUT_OF_RESOURCES, NOT_FOUND, SUCCESS, SUCCESS, SUCCESS]
    rows = range(program.word(buffer), program.word(buffer) + program.word(size), 48)
    last = struct.unpack("<I4xQQQQ", program.machine.memory.read(rows[-1], 40))
    assert last[:4] == (7, 4 << 30, 0, 1 << 18)


def test_statuses_fold() -> None:
    assert to_32_bit(Status.NOT_FOUND) == 0x8000000E
    assert from_32_bit(0x80000002) == Status.INVALID_PARAMETER
    for value in (0, 1, 0xBEEF, 0x1234_5678, 0x8000_0001, 0xA000_0003, 0xC000_0000, 0xFFFF_FFFF):
        assert to_32_bit(from_32_bit(value)) == value


def test_wild_pointers_and_the_end_of_the_address_space() -> None:
    program = Program()
    for pointer in (0xFFFFFFFC, 0xF0000000, RAM - 4):
        program.bs("AllocatePages", 0, 2, 1, pointer)
    program.bs("CopyMem", 0xFFFFFFF0, HANDLE, 0x20)
    program.bs("CalculateCrc32", HANDLE, 0xFFFFFFFF, program.cell())
    program.run()
    first = program.statuses()
    assert first[:3] == [INVALID] * 3
    assert first[4] == INVALID
    assert program.shim.calls[3].service == "BootServices.CopyMem", "VOID, and nothing happened"


def test_protocols_in_32_bit_form() -> None:
    program = Program(cmdline=b"quiet", gop=True)
    loaded, graphics = program.cell(), program.cell()
    program.bs("HandleProtocol", At(HANDLE), program.guid(LOADED_IMAGE), loaded)
    program.bs("LocateProtocol", program.guid(GRAPHICS), 0, graphics)
    program.run()
    raw = program.machine.memory.read(program.word(loaded), 60)
    revision, parent, table, device, path, _, size, options, base = struct.unpack_from("<9I", raw)
    image_size, code, data, unload = struct.unpack_from("<QIII", raw, 40)
    assert (revision, table, base, image_size) == (0x1000, program.word(SYSTEM_TABLE), 0x400000, 0x9000)
    assert (code, data, unload) == (1, 2, 0)
    assert parent
    assert device
    assert path
    assert program.machine.memory.read(options, size) == "quiet\0".encode("utf-16-le")
    mode = program.word(program.word(graphics) + 12)
    maximum, number, info, info_size, framebuffer, bytes_ = struct.unpack("<IIIIQI", program.machine.memory.read(mode, 28))
    assert (number, info_size, bytes_) == (0, 36, 1280 * 800 * 4)
    assert maximum > 1
    assert struct.unpack("<II", program.machine.memory.read(info + 4, 8)) == (1280, 800)
    held = program.shim.memory_map.find(framebuffer)
    assert held is not None
    assert held.type == 0


def test_methods_and_strings() -> None:
    program = Program(initrds=(b"a ramdisk",))
    rng, file, path, handle, out = (program.cell() for _ in range(5))
    buffer, size = program.put(bytes(16)), program.cell(16)
    random = program.put(bytes(16))
    program.call(CON_OUT, 4, At(CON_OUT), program.text("32 bits"))
    program.bs("LocateProtocol", program.guid(RNG), 0, rng)
    program.call(rng, 4, At(rng), 0, 16, random)
    program.machine.memory.write(path, program.put(INITRD_PATH).to_bytes(4, "little"))
    program.bs("LocateDevicePath", program.guid(LOAD_FILE2), path, handle)
    program.bs("HandleProtocol", At(handle), program.guid(LOAD_FILE2), file)
    program.call(file, 0, At(file), At(path), 0, out, 0)
    program.call(file, 0, At(file), At(path), 0, size, buffer)
    program.run()
    assert program.statuses() == [SUCCESS] * 5 + [TOO_SMALL, SUCCESS]
    assert "".join(program.console) == "32 bits"
    assert any(program.machine.memory.read(random, 16))
    assert program.machine.memory.read(buffer, 9) == b"a ramdisk"
    assert (program.word(out), program.word(size)) == (9, 9)


def test_variable_arguments_and_handles() -> None:
    program = Program()
    handle, count, buffer, size = program.cell(), program.cell(), program.cell(), program.cell(0)
    guid, path = program.guid(OWN), program.put(bytes.fromhex("7fff0400"))
    program.bs("InstallMultipleProtocolInterfaces", handle, guid, 0x1234, program.guid(DEVICE_PATH), path, 0)
    program.bs("LocateHandle", 2, guid, 0, size, 0)
    program.bs("LocateHandleBuffer", 2, guid, 0, count, buffer)
    program.bs("ProtocolsPerHandle", At(handle), program.cell(), program.cell())
    program.bs("UninstallMultipleProtocolInterfaces", At(handle), guid, 0x1234, 0)
    program.bs("LocateHandle", 2, guid, 0, size, 0)
    program.run()
    assert program.statuses() == [SUCCESS, TOO_SMALL, SUCCESS, SUCCESS, SUCCESS, NOT_FOUND]
    assert (program.word(size), program.word(count)) == (4, 1)
    assert program.word(program.word(buffer)) == program.word(handle)


def test_notify_functions_get_their_arguments_on_the_stack() -> None:
    program = Program()
    event, index = program.cell(), program.cell()
    program.bs("CreateEvent", 0x200, 8, NOTIFY, 0xC0FFEE, event)
    program.bs("SignalEvent", At(event))
    program.bs("SignalEvent", At(event))
    program.bs("CreateEvent", 0x80000000, 0, 0, 0, event)
    program.bs("SetTimer", At(event), RELATIVE, Wide(20_000_000))
    program.bs("WaitForEvent", 1, event, index)
    program.run()
    assert program.statuses() == [SUCCESS] * 6
    assert (program.word(COUNT), program.word(CONTEXT)) == (2, 0xC0FFEE)
    assert program.machine.clock.now >= 2_000_000_000


def test_a_timer_interrupts_code_without_a_trace() -> None:
    program = Program()
    event = program.cell()
    program.bs("CreateEvent", TIMER_SIGNAL, 8, NOTIFY, 5, event)
    program.bs("SetTimer", At(event), PERIODIC, Wide(10_000))
    program.wait(3)
    program.run()
    assert program.statuses() == [SUCCESS] * 2
    assert program.word(KEPT) == 1, "registers, XMM and flags are those of before"
    assert program.word(EVENT) == program.word(event)
    assert program.machine.clock.now >= 3_000_000


def test_runtime_services_after_the_exit() -> None:
    """At the addresses where they were, which is what a kernel in mixed mode chooses."""
    program = Program()
    rows = [d for d in program.shim.memory_map.descriptors() if d.attributes >> 63]
    packed = b"".join(struct.pack("<I4xQQQQ8x", d.type, d.start, d.start, d.pages, d.attributes) for d in rows)
    key, size, name, guid = program.cell(), program.cell(0x2000), program.text("X"), program.guid(OWN)
    buffer, length, out = program.cell(), program.cell(4), program.cell()
    program.bs("AllocatePool", 2, 0x2000, buffer)
    program.bs("GetMemoryMap", size, At(buffer), key, program.cell(), program.cell())
    program.bs("ExitBootServices", At(HANDLE), At(key))
    program.rs("SetVirtualAddressMap", len(packed), 48, 1, program.put(packed))
    program.rs("SetVariable", name, guid, 7, 4, program.cell(0x4321))
    program.rs("GetVariable", name, guid, 0, length, out)
    program.rs("SetVirtualAddressMap", len(packed), 48, 1, program.put(packed))
    before = program.word(program.shim.tables.runtime + 24)
    program.run()
    assert program.statuses() == [SUCCESS] * 6 + [UNSUPPORTED]
    assert program.word(out) == 0x4321
    assert program.word(program.shim.tables.runtime + 24) == before


def test_virtual_addresses_beyond_32_bits_are_cut() -> None:
    _, shim, _ = machine_of()
    shim.exit_boot_services()
    shim.set_virtual_address_map({d.start: d.start + (1 << 40) for d in shim.memory_map.descriptors() if d.attributes >> 63})
    assert shim.board.memory.u32(shim.tables.system + 56) == shim.tables.runtime


def test_the_host_leaves_runtime_services_where_they_are() -> None:
    _, shim, _ = machine_of()
    shim.exit_boot_services()
    rows = shim.set_virtual_address_map()
    for at in range(0, len(rows), 48):
        _, physical, virtual, _, _ = struct.unpack_from("<I4xQQQQ", rows, at)
        assert physical == virtual


NOT_CALLED = frozenset(
    {"Reserved", "Exit", "ExitBootServices", "Stall", "WaitForEvent", "CopyMem", "SetMem", "RaiseTPL", "RestoreTPL"}
)
"""What leaves, waits for ever, or overwrites the program itself."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_random_calls_end_with_a_status(seed: int) -> None:
    """Whatever the arguments are, a service answers; the program goes on."""
    random = Random(seed)
    program = Program(gop=True, initrds=(b"ramdisk",))
    room = program.put(bytes(0x800))
    services = [name for name in BOOT_SERVICES if name not in NOT_CALLED]
    numbers = (0, 1, 2, 4, 8, 0x200, 0x80000200, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
    values = (*numbers, room, room + 0x400, room + 1, NOTIFY, RAM - 2, RAM, At(HANDLE), At(SYSTEM_TABLE))
    for _ in range(80):
        program.bs(random.choice(services), *(random.choice(values) for _ in range(10)))
    program.run()
    known = {to_32_bit(status) for status in Status}
    assert set(program.statuses()) <= known
    assert len(program.shim.calls) >= 80
