"""Firmware for kernels that are entered when boot services are over."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.errors import ProviderError
from efishim.firmware.calling.status import EfiError
from efishim.firmware.memory.memory_map import RAM_ATTRIBUTES, Descriptor
from efishim.firmware.services.handoff import linux_bases
from efishim.wire.uefi import EFI_MEMORY_RUNTIME
from tests.firmware.fake import Body
from tests.firmware.lab import SUCCESS, UNSUPPORTED, Lab

MIB, PAGE = 1 << 20, 0x1000
EXIT_BOOT_SERVICES = 0x201

DEBIAN_6_1 = (
    (0x1FFDD000, 0x1FFFD000, 4, 0xFFFF_FFFE_FFFD_D000),
    (0x1FFDB000, 0x1FFDD000, 3, 0xFFFF_FFFE_FFFD_B000),
    (0x1FF52000, 0x1FFDB000, 4, 0xFFFF_FFFE_FFF5_2000),
    (0x1FD40000, 0x1FE40000, 5, 0xFFFF_FFFE_FFD4_0000),
    (0x1FC40000, 0x1FD40000, 6, 0xFFFF_FFFE_FFC4_0000),
    (0x1FC3E000, 0x1FC40000, 4, 0xFFFF_FFFE_FFC3_E000),
    (0x0, 0x1000, 3, 0xFFFF_FFFE_FFC0_0000),
)
"""(start, end, type, virtual address): what Debian's 6.1 kernel passed to SetVirtualAddressMap on a machine of 512 MiB."""


def described(start: int, end: int, kind: int) -> Descriptor:
    return Descriptor(start, end, kind, RAM_ATTRIBUTES | (EFI_MEMORY_RUNTIME if kind in (5, 6) else 0))


def test_virtual_addresses_are_those_that_linux_chooses() -> None:
    rows = [described(*row[:3]) for row in DEBIAN_6_1]
    others = [described(0x1000, 0x90000, 7), described(MIB, 0x1FC3E000, 2), described(0x1FE40000, 0x1FEC0000, 10)]
    assert linux_bases([*rows, *others]) == {start: virtual for start, _, _, virtual in DEBIAN_6_1}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 2000)), max_size=6))
def test_virtual_ranges_keep_their_order_and_their_place_in_two_mib(pieces: list[tuple[int, int]]) -> None:
    at, rows = 0, []
    for gap, pages in pieces:
        rows.append(described((at + gap) * PAGE, (at + gap + pages) * PAGE, 6))
        at += gap + pages
    bases = linux_bases(rows)
    limit = (1 << 64) - (4 << 30)
    for row in reversed(rows):
        virtual = bases[row.start]
        assert (virtual - row.start) % (2 * MIB) == 0
        assert limit - 2 * MIB < virtual + (row.end - row.start) <= limit, "as high as it can be"
        limit = virtual


def test_what_does_not_fit_the_addresses_of_linux() -> None:
    with pytest.raises(ProviderError, match="64 GiB"):
        linux_bases([described(0, 65 << 30, 6)])


def test_what_a_loader_passes_on() -> None:
    lab = Lab(smbios=0x90000, smbios3=0x91000)
    system = lab.shim.tables.system
    vendor, runtime, tables = (lab.value(system + offset) for offset in (24, 88, 112))
    handed = lab.shim.exit_boot_services()
    assert (handed.system_table, handed.firmware_vendor, handed.runtime_services) == (system, vendor, runtime)
    assert (handed.configuration_table, handed.smbios) == (tables, 0x91000)
    assert (handed.descriptor_size, handed.descriptor_version) == (48, 1)
    rows = [struct.unpack_from("<I4xQQQQ", handed.memory_map, at) for at in range(0, len(handed.memory_map), 48)]
    assert rows == [(d.type, d.start, 0, d.pages, d.attributes) for d in lab.shim.memory_map.descriptors()]
    assert sum(row[3] for row in rows) * PAGE > 63 * MIB
    assert lab.value(system + 96) == 0, "BootServices"


def test_boot_services_are_over() -> None:
    lab = Lab()
    allocate, get_time = lab.address("BootServices.AllocatePool"), lab.address("RuntimeServices.GetTime")
    lab.shim.exit_boot_services()
    assert lab.board.call(allocate, 2, 8, lab.cell()) == UNSUPPORTED
    time = lab.put(bytes(16))
    assert lab.board.call(get_time, time, 0) == SUCCESS
    assert lab.value(time, 2) == 2001


def test_without_smbios() -> None:
    assert Lab().shim.exit_boot_services().smbios == 0


def test_a_notify_function_cannot_run_from_outside() -> None:
    lab = Lab()

    def notify(*_: int) -> Body:
        return 0
        yield

    lab.event(EXIT_BOOT_SERVICES, 8, lab.function(notify))
    with pytest.raises(ProviderError, match="notify function"):
        lab.shim.exit_boot_services()


def test_runtime_services_work_where_linux_would_have_put_them() -> None:
    lab = Lab()
    handed = lab.shim.exit_boot_services()
    rows = lab.shim.set_virtual_address_map()
    moved: dict[int, int] = {}
    for at in range(0, len(rows), 48):
        _, start, virtual, pages, attributes = struct.unpack_from("<I4xQQQQ", rows, at)
        assert attributes & EFI_MEMORY_RUNTIME
        assert virtual >= (1 << 64) - (68 << 30)
        lab.cpu.windows.append((virtual, start, pages * PAGE))
        moved |= {start + n * PAGE: virtual + n * PAGE for n in range(pages)}
    table = lab.value(handed.system_table + 88)
    assert table == moved[handed.runtime_services & -PAGE] + handed.runtime_services % PAGE
    assert lab.value(handed.system_table + 24) == moved[handed.firmware_vendor & -PAGE] + handed.firmware_vendor % PAGE
    data = bytearray(lab.memory.read(handed.system_table, 120))
    crc, data[16:20] = bytes(data[16:20]), bytes(4)
    assert zlib.crc32(data).to_bytes(4, "little") == crc
    get_time = int.from_bytes(lab.cpu.read(table + 24, 8), "little")
    assert lab.board.call(get_time, lab.put(bytes(16)), 0) == SUCCESS


def test_addresses_of_the_callers_own() -> None:
    lab = Lab()
    handed = lab.shim.exit_boot_services()
    high = 0xFFFF_FFFE_0000_0000
    chosen = {d.start: d.start + high for d in lab.shim.memory_map.descriptors() if d.attributes & EFI_MEMORY_RUNTIME}
    lab.shim.set_virtual_address_map(chosen)
    assert lab.value(handed.system_table + 88) == handed.runtime_services + high


def test_when_and_how_often() -> None:
    lab = Lab()
    with pytest.raises(EfiError, match="UNSUPPORTED"):
        lab.shim.set_virtual_address_map()
    lab.shim.exit_boot_services()
    with pytest.raises(EfiError, match="NO_MAPPING"):
        lab.shim.set_virtual_address_map({})
    lab.shim.set_virtual_address_map()
    with pytest.raises(EfiError, match="UNSUPPORTED"):
        lab.shim.set_virtual_address_map()
