"""System table, service tables, configuration tables (UEFI 2.10, chapter 4), read with offsets from the specification."""

from __future__ import annotations

import struct
import zlib

import pytest

from efishim.wire.guids import guid_bytes
from tests.firmware.lab import NOT_FOUND, OUT_OF_RESOURCES, SUCCESS, Lab

TABLE = "aaaaaaaa-1111-2222-3333-444444444444"


def checked(lab: Lab, address: int, signature: bytes) -> bytes:
    """A table's bytes, after its header was verified as 4.2.1 says."""
    header = lab.memory.read(address, 24)
    assert header[:8] == signature
    revision, size, crc, reserved = struct.unpack_from("<4I", header, 8)
    assert revision == (2 << 16) | 100
    assert reserved == 0
    data = bytearray(lab.memory.read(address, size))
    data[16:20] = bytes(4)
    assert zlib.crc32(data) == crc
    return lab.memory.read(address, size)


def test_headers_and_fields(lab: Lab) -> None:
    system = checked(lab, lab.shim.tables.system, b"IBI SYST")
    assert len(system) == 120
    vendor, _, in_handle, con_in, out_handle, con_out, err_handle, std_err, runtime, boot, count, tables = struct.unpack_from(
        "<QI4xQQQQQQQQQQ", system, 24
    )
    text = lab.memory.read(vendor, 64).decode("utf-16-le").split("\0")[0]
    assert text == "efishim"
    assert in_handle
    assert out_handle
    assert err_handle
    assert con_in
    assert con_out
    assert std_err
    boot_table = checked(lab, boot, b"BOOTSERV")
    assert len(boot_table) == 376
    services = struct.unpack_from("<44Q", boot_table, 24)
    assert [n for n, address in enumerate(services) if address == 0] == [17], "the one reserved place (4.4.1)"
    runtime_table = checked(lab, runtime, b"RUNTSERV")
    assert len(runtime_table) == 136
    assert all(struct.unpack_from("<14Q", runtime_table, 24))
    assert count == len(lab.shim.tables.entries)
    assert tables == lab.shim.tables.configuration


def test_runtime_tables_lie_in_runtime_memory(lab: Lab) -> None:
    tables = lab.shim.tables
    for address in (tables.system, tables.runtime, tables.configuration, lab.value(tables.system + 24)):
        found = lab.shim.memory_map.find(address)
        assert found is not None
        assert found.type == 6
    code = lab.shim.memory_map.find(lab.address("RuntimeServices.GetTime"))
    assert code is not None
    assert code.type == 5


def configuration(lab: Lab) -> list[tuple[bytes, int]]:
    """What an image finds by the system table."""
    checked(lab, lab.shim.tables.system, b"IBI SYST")
    count, address = struct.unpack("<QQ", lab.memory.read(lab.shim.tables.system + 104, 16))
    rows = (lab.memory.read(address + 24 * n, 24) for n in range(count))
    return [(row[:16], int.from_bytes(row[16:], "little")) for row in rows]


def test_configuration_tables_come_and_go(lab: Lab) -> None:
    before = configuration(lab)
    lab.ok("InstallConfigurationTable", lab.guid(TABLE), 0x1000)
    assert configuration(lab) == [*before, (guid_bytes(TABLE), 0x1000)]
    lab.ok("InstallConfigurationTable", lab.guid(TABLE), 0x2000)
    assert configuration(lab) == [*before, (guid_bytes(TABLE), 0x2000)]
    lab.ok("InstallConfigurationTable", lab.guid(TABLE), 0)
    assert configuration(lab) == before
    assert lab.bs("InstallConfigurationTable", lab.guid(TABLE), 0) == NOT_FOUND


@pytest.mark.slow
def test_there_is_an_end(lab: Lab) -> None:
    for n in range(1000):
        status = lab.bs("InstallConfigurationTable", lab.guid(f"{n:08x}-1111-2222-3333-444444444444"), 0x1000)
        lab._heap -= 32
        if status != SUCCESS:
            break
    assert status == OUT_OF_RESOURCES
    assert n > 100
    found = lab.shim.memory_map.find(lab.shim.tables.configuration + 24 * len(configuration(lab)))
    assert found is not None
    assert found.type == 6


def test_what_the_platform_brought() -> None:
    rsdp = {0xF0000: b"RSD PTR \0EFSHIM\2"}
    lab = Lab(rsdp, rsdp=0xF0000, smbios=0xF1000, smbios3=0xF2000)
    found = dict(configuration(lab))
    assert found[guid_bytes("8868e871-e4f1-11d3-bc22-0080c73c8881")] == 0xF0000
    assert found[guid_bytes("eb9d2d30-2d88-11d3-9a16-0090273fc14d")] == 0xF0000
    assert found[guid_bytes("eb9d2d31-2d88-11d3-9a16-0090273fc14d")] == 0xF1000
    assert found[guid_bytes("f2fd1544-9794-4a2c-992e-e5bbcf20e394")] == 0xF2000
    old = dict(configuration(Lab({0xF0000: b"RSD PTR \0EFSHIM\0"}, rsdp=0xF0000)))
    assert guid_bytes("8868e871-e4f1-11d3-bc22-0080c73c8881") not in old, "an ACPI 1.0 RSDP"
    assert old[guid_bytes("eb9d2d30-2d88-11d3-9a16-0090273fc14d")] == 0xF0000
    assert guid_bytes("eb9d2d30-2d88-11d3-9a16-0090273fc14d") not in dict(configuration(Lab()))


def test_runtime_properties(lab: Lab) -> None:
    """All services but the two of capsules work after ExitBootServices (4.6.2)."""
    address = dict(configuration(lab))[guid_bytes("eb66918a-7eef-402a-842e-931d21c38ae9")]
    version, length, supported = struct.unpack("<HHI", lab.memory.read(address, 8))
    assert (version, length) == (1, 8)
    assert supported == 0x3FFF & ~0x1800


def test_crc_service(lab: Lab) -> None:
    data, crc = lab.put(b"123456789"), lab.cell()
    lab.ok("CalculateCrc32", data, 9, crc)
    assert lab.value(crc, 4) == 0xCBF43926, "the check value of CRC-32"


def test_moving_bytes(lab: Lab) -> None:
    data = lab.put(bytes(range(64)))
    lab.bs("CopyMem", data + 4, data, 32)
    assert lab.memory.read(data, 36) == bytes(range(4)) + bytes(range(32)), "overlapping upwards"
    data = lab.put(bytes(range(64)))
    lab.bs("CopyMem", data, data + 4, 32)
    assert lab.memory.read(data, 32) == bytes(range(4, 36)), "overlapping downwards"
    lab.bs("SetMem", data, 16, 0x1AB)
    assert lab.memory.read(data, 17) == b"\xab" * 16 + bytes([20])
