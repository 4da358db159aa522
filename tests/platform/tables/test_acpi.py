"""ACPI tables: checksums and pointers by the specification's rules, fields as ACPICA reads them."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from efishim.platform.tables import acpi
from efishim.platform.tables.acpi import AcpiConfig, build_facs, build_fadt, build_madt, build_tables
from efishim.platform.tables.dsdt import DsdtContents
from tests.platform.iasl import IASL

CONFIG = AcpiConfig(DsdtContents(serial=True, rtc=True, pci_window=(0xC000_0000, 0xFEBF_FFFF), vga_window=False))
BASE, FACS = 0x1FFF_0000, 0x1FFF_F000


def u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def walk(image: bytes) -> dict[bytes, bytes]:
    """Every table that an operating system finds from the RSDP at the start of the image, by signature."""
    assert image[:8] == b"RSD PTR "
    assert sum(image[:20]) & 0xFF == 0
    assert sum(image[:36]) & 0xFF == 0
    assert image[15] == 2
    assert u32(image, 20) == 36
    found: dict[bytes, bytes] = {}

    def take(address: int) -> bytes:
        offset = address - BASE
        assert offset % 4 == 0
        table = image[offset : offset + u32(image, offset + 4)]
        assert sum(table) & 0xFF == 0, table[:4]
        found[table[:4]] = table
        return table

    rsdt = take(u32(image, 16))
    xsdt = take(int.from_bytes(image[24:32], "little"))
    short = [u32(rsdt, at) for at in range(36, len(rsdt), 4)]
    long = [int.from_bytes(xsdt[at : at + 8], "little") for at in range(36, len(xsdt), 8)]
    assert short == long, "both roots list the same tables"
    for address in long:
        take(address)
    take(u32(found[b"FACP"], 40))
    return found


def test_everything_is_found_from_the_rsdp() -> None:
    tables = walk(build_tables(CONFIG, BASE, FACS))
    assert set(tables) == {b"RSDT", b"XSDT", b"FACP", b"APIC", b"DSDT"}
    fadt = tables[b"FACP"]
    assert u32(fadt, 36) == FACS
    assert int.from_bytes(fadt[140:148], "little") == u32(fadt, 40), "X_DSDT agrees with DSDT"
    assert int.from_bytes(fadt[132:140], "little") == 0, "one FACS address, not two"


def test_extra_tables_are_listed() -> None:
    extra = acpi.finish(bytes(40), b"WAET", 1)
    assert walk(build_tables(CONFIG, BASE, FACS, [extra]))[b"WAET"] == extra


def test_fadt_as_acpica_reads_it(iasl: IASL) -> None:
    fields = iasl.fields(build_fadt(CONFIG, FACS, 0x1FFF_0040), "facp")
    expected = {
        "Table Length": 276,
        "Revision": 6,
        "FACS Address": FACS,
        "DSDT Address": 0x1FFF_0040,
        "PM Profile": 1,
        "SCI Interrupt": 9,
        "SMI Command Port": 0,
        "PM1A Event Block Address": 0x600,
        "PM1A Control Block Address": 0x604,
        "PM Timer Block Address": 0x608,
        "GPE0 Block Address": 0,
        "PM1 Event Block Length": 4,
        "PM1 Control Block Length": 2,
        "PM Timer Block Length": 4,
        "GPE0 Block Length": 0,
        "C2 Latency": 0xFFF,
        "C3 Latency": 0xFFF,
        "RTC Century Index": 0x32,
        "Legacy Devices Supported (V2)": 1,
        "8042 Present on ports 60/64 (V2)": 0,
        "VGA Not Present (V4)": 1,
        "CMOS RTC Not Present (V5)": 0,
        "WBINVD instruction is operational (V1)": 1,
        "All CPUs support C1 (V1)": 1,
        "Control Method Power Button (V1)": 1,
        "Control Method Sleep Button (V1)": 1,
        "RTC wake not in fixed reg space (V1)": 1,
        "32-bit PM Timer (V1)": 1,
        "Reset Register Supported (V2)": 1,
        "Hardware Reduced (V5)": 0,
        "Value to cause reset": 6,
    }
    assert {name: fields.get(name) for name in expected} == expected


def test_switches_of_the_fadt(iasl: IASL) -> None:
    config = replace(CONFIG, no_vga=False, no_rtc=True, pic=False, hw_reduced=True)
    fields = iasl.fields(build_fadt(config, FACS, 0x1FFF_0040), "facp")
    expected = {
        "Legacy Devices Supported (V2)": 0,
        "VGA Not Present (V4)": 0,
        "CMOS RTC Not Present (V5)": 1,
        "RTC Century Index": 0,
        "Hardware Reduced (V5)": 1,
        "PM1A Event Block Address": 0,
        "PM1A Control Block Address": 0,
        "PM Timer Block Address": 0,
        "FACS Address": 0,
        "SCI Interrupt": 0,
    }
    assert {name: fields.get(name) for name in expected} == expected


def test_madt_as_acpica_reads_it(iasl: IASL) -> None:
    source = iasl.disassemble(build_madt(CONFIG), "apic")
    fields = iasl.fields(build_madt(CONFIG), "apic")
    assert fields["Local Apic Address"] == 0xFEE0_0000
    assert fields["PC-AT Compatibility"] == 1
    assert fields["Local Apic ID"] == 0
    assert fields["Processor Enabled"] == 1
    assert fields["Address"] == 0xFEC0_0000
    assert fields["I/O Apic ID"] == 1
    assert source.count("[Interrupt Source Override]") == 2
    assert fields["Interrupt Input LINT"] == 1


def overrides(madt: bytes) -> dict[int, tuple[int, int]]:
    """Source to (GSI, flags), walking the entries by their lengths."""
    found = {}
    at = 44
    while at < len(madt):
        kind, length = madt[at], madt[at + 1]
        assert length >= 2
        if kind == 2:
            _, source, gsi, flags = struct.unpack_from("<BBIH", madt, at + 2)
            found[source] = (gsi, flags)
        at += length
    assert at == len(madt)
    return found


def test_interrupt_overrides() -> None:
    """Table 5.26: 0 conforms to the bus; 0b1101 is active high and level triggered."""
    assert overrides(build_madt(CONFIG)) == {0: (2, 0), 9: (9, 0b1101)}
    assert overrides(build_madt(replace(CONFIG, pic=False))) == {9: (9, 0b1101)}
    assert overrides(build_madt(replace(CONFIG, pic=False, hw_reduced=True))) == {}


def test_other_tables_disassemble(iasl: IASL) -> None:
    tables = walk(build_tables(CONFIG, BASE, FACS))
    for name in (b"XSDT", b"RSDT", b"DSDT"):
        iasl.disassemble(tables[name], name.decode().lower())
    iasl.disassemble(build_facs(), "facs")


@pytest.mark.parametrize("base", [0x1000, 0xBFFF_E000])
def test_tables_are_the_same_size_everywhere(base: int) -> None:
    assert len(build_tables(CONFIG, base, FACS)) == len(build_tables(CONFIG, 0, FACS))
