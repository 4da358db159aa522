"""32-bit programs on the firmware: images and their entries, exceptions, paging, and a processor that changes its mode."""

from __future__ import annotations

import struct

import efishim_firmware_stubs
import pytest

from efishim.errors import ImageError
from efishim.firmware.calling.status import Status
from tests.firmware import programs
from tests.firmware.ia32 import FILE, FILE_SIZE, HANDLE, LOAD_FILE, RAM, SUCCESS, At, Program, image, machine_of
from tests.firmware.lab import Lab
from tests.support.images import SectionSpec, build_pe

DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
LOAD_FILE2 = "4006c0c1-fcb3-403e-996d-4a6c8724e06d"
INITRD_PATH = bytes.fromhex("0403140027e46855fc683d4fac74ca555231cc687fff0400")

RETURNS = bytes.fromhex("b855000000c3")
"""mov eax, 0x55; ret"""


def test_an_image_from_a_file_that_the_program_serves() -> None:
    """LoadImage by a device path: the firmware calls LoadFile2 of the program, twice."""
    program = Program()
    nested = image(RETURNS, size=0x200, base=0x700000)
    assert len(nested) <= FILE_SIZE
    program.machine.memory.write(FILE, nested)
    file_handle, loaded, interface = program.cell(), program.cell(), program.cell(LOAD_FILE)
    path = program.put(INITRD_PATH[:-4] + bytes.fromhex("0404060041007fff0400"))
    program.bs("InstallMultipleProtocolInterfaces", file_handle, program.guid(LOAD_FILE2), interface, program.guid(DEVICE_PATH),
               program.put(INITRD_PATH), 0)  # fmt: skip
    program.bs("LoadImage", 0, At(HANDLE), path, 0, 0, loaded)
    started = program.bs("StartImage", At(loaded), 0, 0)
    program.run()
    assert program.statuses() == [SUCCESS, SUCCESS, 0x55]
    assert program.word(started) == 0x55


EXITS = bytes.fromhex("8b442404 8b542408 8b523c 6a00 6a00 680e000080 50 ff5278 f4")
"""mov eax, [esp+4]; mov edx, [esp+8]; mov edx, [edx+60]; push 0; push 0; push 0x8000000e; push eax; call [edx+120]; hlt"""


def test_a_status_passed_by_an_image_that_leaves() -> None:
    machine, shim, _ = machine_of()
    shim.boot(image(EXITS))
    assert machine.run(max_insns=100_000).reason == "image returned EFI_NOT_FOUND"
    assert shim.result == Status.NOT_FOUND
    assert ("ExitStatus", "EFI_NOT_FOUND") in shim.calls[-1].args


def test_an_exception_is_told() -> None:
    """ud2"""
    machine, shim, _ = machine_of()
    shim.boot(image(b"\x0f\x0b"))
    stop = machine.run(max_insns=100_000)
    fault = shim.environment.fault
    assert fault is not None
    assert (fault.vector, fault.rip) == (6, 0x401000)
    assert stop.reason.startswith("firmware exception: unhandled #UD")


def compatible(rva: int, machine: int = 0x14C) -> bytes:
    """A 64-bit image with an entry for firmware of another machine; both entries return a number of their own."""
    text = bytes.fromhex("b864000000c3").ljust(0x20, b"\xcc") + bytes.fromhex("b832000000c3")
    record = struct.pack("<BBHI", 1, 8, machine, rva)
    return build_pe(
        [
            SectionSpec(b".text", 0x1000, text, 0x1000, 0x60000020),
            SectionSpec(b".compat", 0x2000, record + bytes(8), 16, 0x42000040),
        ],
        size_of_image=0x3000,
    )


def test_a_64_bit_image_is_entered_where_its_compat_section_says() -> None:
    machine, shim, _ = machine_of()
    shim.boot(compatible(0x1020))
    assert machine.run(max_insns=100_000).reason == "image returned 0x32"


@pytest.mark.parametrize(
    "data",
    [programs.IMAGE, compatible(0x1020, 0xAA64), programs.program(machine=0x14C), programs.program(machine=0xAA64)],
    ids=["64-bit", "another compat machine", "PE32+ for IA-32", "ARM"],
)
def test_images_for_other_machines(data: bytes) -> None:
    _, shim, _ = machine_of()
    with pytest.raises(ImageError, match="not an EFI program for this machine"):
        shim.load(data)


def test_a_compat_entry_outside_of_the_image() -> None:
    _, shim, _ = machine_of()
    with pytest.raises(ImageError):
        shim.load(compatible(0x3000))


def test_32_bit_images_are_not_for_64_bit_firmware() -> None:
    with pytest.raises(ImageError, match="not an EFI program for this machine"):
        Lab().shim.load(image(RETURNS))


def test_tables_of_three_levels() -> None:
    """PAE (SDM volume 3, 4.4): four entries without permissions, then 2 MiB pages; nothing may be executed at first."""
    machine, shim, _ = machine_of()
    memory, root = machine.memory, shim.pages.root
    pointers = [memory.u64(root + 8 * n) for n in range(4)]
    assert all(entry & 0xFFF == 1 for entry in pointers)
    for address in (0, 0x1234567, 0xC0000000, 0xFFFFFFFF):
        entry = memory.u64((pointers[address >> 30] & -0x1000) + 8 * (address >> 21 & 511))
        assert entry & 0xFFFFFFE00000 == address & -0x200000
        assert (entry >> 63, entry & 0x83) == (1, 0x83)
    shim.boot(image(RETURNS))
    assert machine.run(max_insns=100_000).reason == "image returned 0x55"
    opened = {at for at, entry in shim.pages.pages(0, 64 << 20) if not entry >> 63}
    assert 0x401000 in opened
    assert RAM - 0x1000 not in opened


JUMP_TO_DATA = bytes.fromhex("b800034000 ffe0")
"""mov eax, 0x400300 (in the headers); jmp eax"""


def test_strict_firmware_lets_nobody_execute_data() -> None:
    machine, shim, _ = machine_of(strict_nx=True)
    text = SectionSpec(b".text", 0x1000, JUMP_TO_DATA, 0x1000, 0x60000020)
    shim.boot(build_pe([text], machine=0x14C, plus=False, size_of_image=0x2000, characteristics=0x0103))
    stop = machine.run(max_insns=100_000)
    fault = shim.environment.fault
    assert fault is not None, stop
    assert (fault.vector, fault.error, fault.rip) == (14, 0x11, 0x400300)


ARGUMENTS = bytes.fromhex("8b442404 2b44240c c3")
"""mov eax, [esp+4]; sub eax, [esp+12]; ret"""


def test_a_handover_passes_its_arguments_on_the_stack() -> None:
    machine, shim, _ = machine_of(reserved=((0x1000000, 0x1000),))
    machine.memory.write(0x1000000, ARGUMENTS)
    adopted = shim.adopt(0x1000000, 0x1000)
    shim.enter(0x1000000, {}, adopted, (0x90000, shim.tables.system, 0x8FFFF))
    assert machine.run(max_insns=1000).reason == "image returned EFI_WARN_UNKNOWN_GLYPH"


COUNTS, STATUS, TIME, SEEN, WRONG = 0x402008, 0x402004, 0x402040, 0x402014, 0x402018


def in_modes(wrong: int) -> Program:
    """Run efishim_firmware_stubs/ia32/modes.asm as far as it gets."""
    program = Program()
    program.shim.images.unload_image(program.image.handle)
    program.image = program.shim.load(image(efishim_firmware_stubs.load("ia32/modes.bin"), size=0x2000))
    program.machine.memory.put_u32(WRONG, wrong)
    return program


def test_runtime_services_from_compatibility_mode() -> None:
    program = in_modes(0)
    program.run()
    assert program.word(STATUS) == SUCCESS
    assert program.word(TIME, 2) == 2001
    assert program.word(SEEN) == 0, "64-bit code is not interrupted by 32-bit code"
    assert program.word(COUNTS) >= 2, "which happens when the processor is back"
    assert program.machine.clock.now > 2_000_000


def test_64_bit_code_cannot_call_32_bit_firmware() -> None:
    program = in_modes(1)
    program.shim.start(program.image)
    stop = program.machine.run(max_insns=50_000_000)
    assert stop.reason == "firmware exception: code that is not 32-bit called the firmware, which is"
