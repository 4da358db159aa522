"""Structures of firmware are found and named in memory, and what makes no sense ends the search."""

from __future__ import annotations

import struct

import pytest

from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.legacy import legacy, legacy_areas, legacy_watches
from efishim.lab.snapshot.structures import Target, acpi_targets, boot_params_target, efi_targets
from efishim.machine.access_observer import Access, ObservedRange
from efishim.machine.ledger import Kind, Touch
from efishim.machine.memory import PhysicalMemory
from efishim.wire import uefi

RSDP, XSDT, FADT, DSDT, FACS, MADT = 0xE0000, 0x10000, 0x11000, 0x12000, 0x13000, 0x14000


def machine_memory() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.add(0, 0xA0000)
    memory.add(0xE0000, 0x20000, name="bios", writable=False)
    return memory


def with_acpi() -> PhysicalMemory:
    memory = machine_memory()
    memory.write(RSDP, b"RSD PTR " + struct.pack("<B6sBIIQ", 0, b"TEST", 2, 0, 36, XSDT))
    memory.write(XSDT, b"XSDT" + struct.pack("<I", 36 + 16))
    memory.put_u64(XSDT + 36, FADT)
    memory.put_u64(XSDT + 44, MADT)
    memory.write(FADT, b"FACP" + struct.pack("<I", 276))
    memory.put_u64(FADT + 140, DSDT)  # X_DSDT (ACPI 6.5 table 5.9)
    memory.put_u32(FADT + 36, FACS)
    memory.write(DSDT, b"DSDT" + struct.pack("<I", 100))
    memory.write(FACS, b"FACS" + struct.pack("<I", 64))
    memory.write(MADT, b"APIC" + struct.pack("<I", 60))
    return memory


def offsets(target: Target) -> dict[str, tuple[int, int]]:
    return {leaf.name: (leaf.offset, leaf.size) for leaf in target.leaves}


def test_acpi_tables() -> None:
    found = acpi_targets(with_acpi(), RSDP, since=7)
    assert [(one.name, one.address, one.size, one.since) for one in found] == [
        ("RSDP", RSDP, 36, 7),
        ("XSDT", XSDT, 52, 7),
        ("FACP", FADT, 276, 7),
        ("DSDT", DSDT, 100, 7),
        ("FACS", FACS, 64, 7),
        ("APIC", MADT, 60, 7),
    ]
    assert offsets(found[1])["entry[1]"] == (44, 8)
    assert offsets(found[2])["x_dsdt"] == (140, 8)


@pytest.mark.parametrize(
    ("place", "value", "left"),
    [
        (RSDP + 24, 0xB0000, ["RSDP"]),  # an XSDT where no memory is
        (RSDP + 24, 0, ["RSDP"]),
        (XSDT + 4, 4, ["RSDP"]),  # shorter than its header
        (XSDT + 36, 1 << 40, ["RSDP", "XSDT", "APIC"]),  # a table where no memory is
        (FADT + 140, 0xC0000, ["RSDP", "XSDT", "FACP", "APIC"]),
        (MADT + 4, 0xFFFFFFF0, ["RSDP", "XSDT", "FACP", "DSDT", "FACS"]),
    ],
)
def test_broken_acpi_tables(place: int, value: int, left: list[str]) -> None:
    memory = with_acpi()
    size = 4 if value < 1 << 32 and place in {XSDT + 4, MADT + 4} else 8
    memory.write(place, value.to_bytes(size, "little"))
    assert [one.name for one in acpi_targets(memory, RSDP)] == left


def test_no_rsdp() -> None:
    assert acpi_targets(machine_memory(), 0) == []
    assert acpi_targets(machine_memory(), 0xB0000) == []


@pytest.mark.parametrize("width", [4, 8])
def test_efi_tables(width: int) -> None:
    memory = machine_memory()
    table = uefi.SystemTable(RuntimeServices=0x3000, BootServices=0x4000, NumberOfTableEntries=2, ConfigurationTable=0x5000)
    memory.write(0x2000, table.build(width))
    found = efi_targets(memory, 0x2000, width=width)
    step = 16 + width
    assert [(one.name, one.address) for one in found] == [
        ("EFI_SYSTEM_TABLE", 0x2000),
        ("EFI_RUNTIME_SERVICES", 0x3000),
        ("EFI_BOOT_SERVICES", 0x4000),
        ("EFI_CONFIGURATION_TABLE[0]", 0x5000),
        ("EFI_CONFIGURATION_TABLE[1]", 0x5000 + step),
    ]
    assert offsets(found[2])["RaiseTPL"] == (24, width), "the first service stands behind the header (UEFI 2.10, 4.4.1)"
    assert offsets(found[3]) == {"VendorGuid": (0, 16), "VendorTable": (16, width)}
    assert all(one.leaves[-1].offset + one.leaves[-1].size <= one.size for one in found)


def test_efi_tables_of_a_hostile_guest() -> None:
    memory = machine_memory()
    table = uefi.SystemTable(RuntimeServices=1 << 50, NumberOfTableEntries=1 << 60, ConfigurationTable=0x9FFF0)
    memory.write(0x2000, table.build())
    assert [one.name for one in efi_targets(memory, 0x2000)] == ["EFI_SYSTEM_TABLE"]
    assert efi_targets(memory, 0xB0000) == []


def test_boot_params_have_the_entries_that_count() -> None:
    leaves = offsets(boot_params_target("boot_params", 0x90000, 2))
    assert leaves["e820_table[0].addr"] == (0x2D0, 8)
    assert leaves["e820_table[1].type"] == (0x2D0 + 20 + 16, 4)
    assert "e820_table[2].addr" not in leaves
    assert leaves["hdr.setup_data"] == (0x250, 8), "boot.rst"
    assert len(boot_params_target("boot_params", 0, 255).leaves) == len(leaves) + 126 * 3


# Legacy memory


def test_areas_and_what_of_them_is_memory() -> None:
    memory = machine_memory()
    memory.put_u16(0x40E, 0x9FC0)
    areas = legacy_areas(memory)
    assert [(one.group, one.start, one.end) for one in areas] == [
        ("IVT", 0, 0x400),
        ("BDA", 0x400, 0x500),
        ("EBDA", 0x9FC00, 0xA0000),
        ("VGA", 0xA0000, 0xC0000),
        ("option ROM", 0xC0000, 0xE0000),
        ("BIOS", 0xE0000, 0x100000),
    ]
    assert legacy_watches(memory, areas) == [
        ObservedRange(0, 0x400),
        ObservedRange(0x400, 0x100),
        ObservedRange(0x9FC00, 0x400),
        ObservedRange(0xE0000, 0x20000, 16),
    ]


@pytest.mark.parametrize("segment", [0, 0x4F, 0xA000, 0xFFFF])
def test_a_pointer_that_leads_to_no_ebda(segment: int) -> None:
    memory = machine_memory()
    memory.put_u16(0x40E, segment)
    assert "EBDA" not in [one.group for one in legacy_areas(memory)]


def test_accesses_by_area_with_mmio_from_the_ledger() -> None:
    areas = legacy_areas(machine_memory())
    accesses = [
        Access(0x413, 2, False, 0x900, 0x900, 0x413, 1, 50, 50),
        Access(0x40E, 2, False, 0x904, 0x900, 0x40E, 2, 40, 60),
        Access(0x450, 1, True, 0x908, 0x900, 0x450, 1, 70, 70),
        Access(0xF0000, 4, False, 0x910, 0x910, 0xF0000, 4, 80, 90),
        Access(0x5000, 4, False, 0x910, 0x910, 0x5000, 4, 1, 2),
    ]
    touches = [
        Touch(Kind.MMIO, 0xB8000, True, 0x920, 10, 100, 200, 0),
        Touch(Kind.PORT, 0x80, True, 0x930, 1, 5, 5, 0),
        Touch(Kind.MMIO, 0xFEC00000, True, 0x940, 1, 5, 5, 0),
    ]
    found = legacy(areas, accesses, touches, AddressNames())
    assert [(one.group, one.reads, one.writes, one.places, one.first_insns, one.last_insns) for one in found] == [
        ("BDA", 3, 1, 3, 40, 70),
        ("VGA", 0, 10, 1, 100, 200),
        ("BIOS", 4, 0, 1, 80, 90),
    ]
    assert found[0].first.address == 0x904
    assert found[0].functions == ["0x904", "0x900", "0x908"]
