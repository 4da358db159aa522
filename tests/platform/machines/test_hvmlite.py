"""The platform `hvmlite` as a whole: what is there, what is not, and what its ACPI tables say (libacpi of Xen 4.17)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from efishim.memory_range import MemoryKind
from efishim.platform.definition import GIB, MIB, PlatformFacts, PlatformOptions
from efishim.platform.machines.hvmlite import HVMLITE
from tests.platform.fakes import FakeBoard

EPOCH = 1_460_000_000


def build(ram: int = 512 * MIB, **features: str) -> tuple[FakeBoard, PlatformFacts]:
    board = FakeBoard()
    return board, HVMLITE.build(board, PlatformOptions(ram, EPOCH, features))


def tables(board: FakeBoard, facts: PlatformFacts) -> dict[bytes, bytes]:
    """By signature, from the XSDT that the RSDP names; every checksum is right."""
    assert facts.rsdp is not None
    rsdp = board.memory.read(facts.rsdp, 36)
    assert rsdp[:8] == b"RSD PTR "
    assert sum(rsdp[:20]) % 256 == sum(rsdp) % 256 == 0

    def table(address: int) -> bytes:
        data = board.memory.read(address, board.memory.u32(address + 4))
        assert sum(data) % 256 == 0
        return data

    xsdt = table(board.memory.u64(facts.rsdp + 24))
    found = [table(int.from_bytes(xsdt[at : at + 8], "little")) for at in range(36, len(xsdt), 8)]
    fadt = found[0]
    found.append(table(int.from_bytes(fadt[140:148], "little")))
    return {data[:4]: data for data in found}


def word(data: bytes, at: int, size: int = 4) -> int:
    return int.from_bytes(data[at : at + size], "little")


def test_no_legacy_devices() -> None:
    board, facts = build()
    present = {resource.name for resource in facts.resources if resource.present}
    assert present == {"APIC", "TSC", "MCE", "microcode", "delay", "MTRR", "serial", "Xen"}
    for port in (0x20, 0x21, 0x40, 0x42, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xA1, 0xCF8, 0xCF9, 0xB000, 0xB004, 0xAFE0, 0x10):
        board.outb(port, 0)
        assert board.inb(port) == 0xFF, hex(port)
    assert board.mmio.read(0xFEC0_0000, 4) == 0xFFFF_FFFF
    assert board.mmio.read(0xFEE0_0030, 4) == 0x0005_0014
    assert board.stops == []


@pytest.mark.parametrize("ram", [64 * MIB, 3 * GIB, 8 * GIB])
def test_memory_map(ram: int) -> None:
    board, facts = build(ram)
    pieces = facts.memory_map
    assert all(first.end <= second.start for first, second in pairwise(pieces))
    assert facts.memory_of(MemoryKind.RAM) == ram, "all of it, there is no legacy hole"
    assert all(board.memory.find(piece.start, piece.size) is not None for piece in pieces)
    if ram > 3 * GIB:
        assert pieces[-1].start == 4 * GIB


def test_fadt_is_that_of_libacpi() -> None:
    """ACPI 6.5 table 5.9 for the offsets."""
    found = tables(*build())
    fadt = found[b"FACP"]
    assert (fadt[8], len(fadt)) == (5, 268)
    assert fadt[10:24] == b"Xen\0\0\0HVM\0\0\0\0\0"
    assert fadt[28:32] == b"HVML"
    assert word(fadt, 109, 2) == 1 << 2 | 1 << 5, "no VGA, no CMOS clock; bit 1 would be an i8042, bit 0 legacy devices"
    flags = word(fadt, 112)
    assert {bit for bit in range(32) if flags >> bit & 1} == {0, 2, 4, 5, 6, 8, 15}
    assert (word(fadt, 56), word(fadt, 64), word(fadt, 76), word(fadt, 80)) == (0xB000, 0xB004, 0, 0xAFE0)
    assert (fadt[88], fadt[89], fadt[91], fadt[92]) == (4, 2, 0, 4)
    assert (word(fadt, 120, 8), fadt[128]) == (0xCF9, 6)


@pytest.mark.parametrize(
    ("feature", "value", "offset", "size", "changed"),
    [
        ("fadt_no_vga", "0", 109, 2, 1 << 2),
        ("fadt_no_rtc", "0", 109, 2, 1 << 5),
        ("fadt_no_8042", "0", 109, 2, 1 << 1),
        ("fadt_hw_reduced", "1", 112, 4, 1 << 20),
    ],
)
def test_each_flag_switches_alone(feature: str, value: str, offset: int, size: int, changed: int) -> None:
    normal, other = tables(*build())[b"FACP"], tables(*build(512 * MIB, **{feature: value}))[b"FACP"]
    both = [(word(data, 109, 2), word(data, 112)) for data in (normal, other)]
    assert word(normal, offset, size) ^ word(other, offset, size) == changed
    assert sum(a != b for a, b in zip(*both, strict=True)) == 1


def test_hardware_reduced_has_no_registers_at_all() -> None:
    fadt = tables(*build(fadt_hw_reduced="1"))[b"FACP"]
    assert not any(fadt[36:40])
    assert not any(fadt[56:96])
    assert not any(fadt[148:268])


def test_madt() -> None:
    """ACPI 6.5 table 5.21: a processor, and the I/O APIC with it only where there is one."""
    madt = tables(*build())[b"APIC"]
    assert word(madt, 36) == 0xFEE0_0000
    assert madt[44:] == bytes([0, 8, 0, 0, 1, 0, 0, 0])
    assert word(madt, 40) == 1
    board, facts = build(ioapic="1")
    madt = tables(board, facts)[b"APIC"]
    assert word(madt, 40) == 0, "no PIC: Linux would wait for its timer"
    assert madt[44:46] == bytes([1, 12])
    assert word(madt, 48) == 0xFEC0_0000
    assert board.mmio.read(0xFEC0_0000, 4) == 0


def test_dsdt_has_no_way_to_power_off_and_a_polled_serial_port() -> None:
    dsdt = tables(*build())[b"DSDT"]
    assert b"_S5_" not in dsdt
    assert b"CPU0" in dsdt
    assert b"COM1" in dsdt
    irq = b"\x22\x10\x00"  # IRQNoFlags {4} (6.4.2.1)
    assert irq not in dsdt
    assert irq in tables(*build(ioapic="1"))[b"DSDT"]
    assert b"COM1" not in tables(*build(serial="0"))[b"DSDT"]


def test_tables_lie_where_libxl_puts_them() -> None:
    board, facts = build()
    (acpi,) = [piece for piece in facts.memory_map if piece.kind is MemoryKind.ACPI_RECLAIMABLE]
    assert acpi.start == 0xFC00_0000
    assert facts.rsdp is not None
    assert acpi.start <= facts.rsdp < acpi.end
    fadt = tables(board, facts)[b"FACP"]
    assert word(fadt, 36) == word(fadt, 132, 8)
    assert board.memory.read(word(fadt, 36), 4) == b"FACS"
    assert word(fadt, 36) % 64 == 0
    assert build(acpi="0")[1].rsdp is None


def test_bios_area() -> None:
    board, facts = build(bios_area="1")
    assert facts.rsdp is not None
    assert board.memory.read(0xF0000, 36) == board.memory.read(facts.rsdp, 36)
    ram = [(piece.start, piece.end) for piece in facts.memory_map if piece.kind is MemoryKind.RAM]
    assert ram == [(0, 0xA0000), (0x100000, 512 * MIB)]


def test_two_builds_are_the_same() -> None:
    one, two = build(), build()
    assert one[1].memory_map == two[1].memory_map
    assert tables(*one) == tables(*two)
