"""SetVirtualAddressMap and ConvertPointer (UEFI 2.10, 8.4): the services go on working where the kernel puts them."""

from __future__ import annotations

import struct
import zlib

import pytest

from efishim.firmware.calling.call_log import NOT_RETURNED
from tests.firmware.fake import Body
from tests.firmware.lab import INVALID, NO_MAPPING, NOT_FOUND, SUCCESS, UNSUPPORTED, Lab
from tests.firmware.programs import DATA, POINTER_AT, program

HIGH = 0xFFFF_FFFE_0000_0000
RUNTIME = 1 << 63
VIRTUAL_ADDRESS_CHANGE = 0x60000202


def runtime_map(lab: Lab, *, skip: int = -1, extra: bytes = b"") -> tuple[int, int]:
    """A virtual map with every runtime range at HIGH plus its physical address; (address, size)."""
    rows = [d for d in lab.shim.memory_map.descriptors() if d.attributes & RUNTIME]
    packed = [
        struct.pack("<I4xQQQQ8x", d.type, d.start, d.start + HIGH, d.pages, d.attributes)
        for n, d in enumerate(rows)
        if n != skip
    ]
    data = b"".join(packed) + extra
    return lab.put(data), len(data)


def switch(lab: Lab) -> None:
    address, size = runtime_map(lab)
    assert lab.rs("SetVirtualAddressMap", size, 48, 1, address) == SUCCESS
    for d in lab.shim.memory_map.descriptors():
        if d.attributes & RUNTIME:
            lab.cpu.windows.append((d.start + HIGH, d.start, d.end - d.start))


def test_tables_are_converted_with_their_crcs(lab: Lab) -> None:
    lab.exit_boot_services()
    tables = lab.shim.tables
    before = struct.unpack("<14Q", lab.memory.read(tables.runtime + 24, 112))
    vendor, configuration = lab.value(tables.system + 24), lab.value(tables.system + 112)
    switch(lab)
    after = struct.unpack("<14Q", lab.memory.read(tables.runtime + 24, 112))
    stay = {4, 5}  # SetVirtualAddressMap and ConvertPointer are of no use any more
    assert all(new == old + (0 if n in stay else HIGH) for n, (old, new) in enumerate(zip(before, after, strict=True)))
    assert lab.value(tables.system + 24) == vendor + HIGH
    assert lab.value(tables.system + 88) == tables.runtime + HIGH
    assert lab.value(tables.system + 112) == configuration + HIGH
    for address, size in ((tables.system, 120), (tables.runtime, 136)):
        data = bytearray(lab.memory.read(address, size))
        crc = bytes(data[16:20])
        data[16:20] = bytes(4)
        assert zlib.crc32(data).to_bytes(4, "little") == crc


def test_services_work_at_their_new_addresses(lab: Lab) -> None:
    lab.exit_boot_services()
    switch(lab)
    table = lab.value(lab.shim.tables.system + 88)
    get_time = int.from_bytes(lab.cpu.read(table + 24, 8), "little")
    assert get_time > HIGH
    time = lab.put(bytes(16))
    assert lab.board.call(get_time, time, 0) == SUCCESS
    assert lab.value(time, 2) == 2001
    # A pointer in the kernel's half, that only the kernel's tables map.
    lab.cpu.windows.append((0xFFFF_8880_0000_0000, time, 0x1000))
    lab.memory.fill(time, 16)
    assert lab.board.call(get_time, 0xFFFF_8880_0000_0000, 0) == SUCCESS
    assert lab.value(time, 2) == 2001


def test_only_once_and_only_after_exit(lab: Lab) -> None:
    address, size = runtime_map(lab)
    assert lab.rs("SetVirtualAddressMap", size, 48, 1, address) == UNSUPPORTED
    service = lab.address("RuntimeServices.SetVirtualAddressMap")
    lab.exit_boot_services()
    switch(lab)
    assert lab.board.call(service, size, 48, 1, address) == UNSUPPORTED


def test_every_runtime_range_needs_an_address(lab: Lab) -> None:
    lab.exit_boot_services()
    for skip in range(2):
        address, size = runtime_map(lab, skip=skip)
        assert lab.rs("SetVirtualAddressMap", size, 48, 1, address) == NO_MAPPING
    switch(lab)


def test_memory_of_the_firmware_that_is_not_mapped(lab: Lab) -> None:
    """Before it can answer, the firmware has to look at its data: the caller gets a page fault, and may repeat the call."""
    lab.exit_boot_services()
    data = next(d for d in lab.shim.memory_map.descriptors() if d.start <= lab.shim.tables.system < d.end)
    address, size = runtime_map(lab)
    service = lab.address("RuntimeServices.SetVirtualAddressMap")
    lab.cpu.holes.append((data.start, 0x1000))
    lab.board.call(service, size, 48, 1, address)
    ((where, error, rip),) = lab.board.faults
    assert (where, error) == (data.start, 0)
    assert lab.memory.read(rip, 1) == b"\xe6", "the instruction that will be repeated"
    assert lab.shim.dispatcher.depth == 0
    assert lab.shim.log.calls[-1].status == NOT_RETURNED
    lab.cpu.holes.clear()
    lab.board.stopped = None
    switch(lab)


def test_an_address_that_is_not_in_the_map(lab: Lab) -> None:
    lab.exit_boot_services()
    extra = struct.pack("<I4xQQQQ8x", 6, 0x7000_0000, HIGH, 1, RUNTIME)
    address, size = runtime_map(lab, extra=extra)
    assert lab.rs("SetVirtualAddressMap", size, 48, 1, address) == NOT_FOUND


def test_events_convert_pointers(lab: Lab) -> None:
    outside, null, inside = lab.cell(0x1_0000_0000), lab.cell(), lab.cell(lab.shim.tables.system)
    convert = lab.address("RuntimeServices.ConvertPointer")
    seen: list[int] = []

    def change(*_: int) -> Body:
        from tests.firmware.fake import Firmware  # noqa: PLC0415

        for arguments in ((0, inside), (0, outside), (0, null), (1, null), (0, 0)):
            seen.append((yield Firmware(convert, arguments)))
        return 0

    lab.event(VIRTUAL_ADDRESS_CHANGE, 8, lab.function(change))
    lab.exit_boot_services()
    switch(lab)
    assert seen == [SUCCESS, NOT_FOUND, INVALID, SUCCESS, INVALID]
    assert lab.value(inside) == lab.shim.tables.system + HIGH
    assert lab.board.call(convert, 0, inside) == UNSUPPORTED, "only while the events run"


def test_runtime_drivers_are_relocated(lab: Lab) -> None:
    driver = lab.shim.load(program(subsystem=12))
    boot_driver = lab.shim.load(program(subsystem=11))
    lab.exit_boot_services()
    switch(lab)
    assert lab.memory.u64(driver.base + POINTER_AT) == driver.base + DATA + HIGH
    assert lab.memory.u64(boot_driver.base + POINTER_AT) == boot_driver.base + DATA


@pytest.mark.parametrize(("step", "version"), [(39, 1), (48, 0), (48, 2), (0, 1)])
def test_descriptors_of_another_form(lab: Lab, step: int, version: int) -> None:
    lab.exit_boot_services()
    address, size = runtime_map(lab)
    assert lab.rs("SetVirtualAddressMap", size, step, version, address) == INVALID


def test_a_larger_descriptor_is_fine(lab: Lab) -> None:
    lab.exit_boot_services()
    rows = [d for d in lab.shim.memory_map.descriptors() if d.attributes & RUNTIME]
    packed = b"".join(struct.pack("<I4xQQQQ24x", d.type, d.start, d.start + HIGH, d.pages, d.attributes) for d in rows)
    assert lab.rs("SetVirtualAddressMap", len(packed), 64, 1, lab.put(packed)) == SUCCESS
