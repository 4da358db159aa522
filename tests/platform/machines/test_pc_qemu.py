"""The platform `pc-qemu` as a whole: what it promises, and that there is something behind it.

tests/oracle/test_pc_qemu.py asks a QEMU the same questions.
"""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.errors import UsageError
from efishim.memory_range import MemoryKind
from efishim.platform.definition import GIB, MIB, PlatformFacts, PlatformOptions
from efishim.platform.machines.pc_qemu import PC_QEMU
from tests.platform.fakes import FakeBoard
from tests.platform.iasl import IASL

EPOCH = 1_460_000_000
RAM = MemoryKind.RAM


def build(ram: int = 512 * MIB, **features: str) -> tuple[FakeBoard, PlatformFacts]:
    board = FakeBoard()
    return board, PC_QEMU.build(board, PlatformOptions(ram, EPOCH, features))


def rows(facts: PlatformFacts) -> list[tuple[int, int, MemoryKind]]:
    return [(piece.start, piece.end, piece.kind) for piece in facts.memory_map]


def tables(board: FakeBoard, facts: PlatformFacts) -> dict[bytes, bytes]:
    """By signature, found from the RSDP over RSDT and FADT."""
    assert facts.rsdp is not None
    assert board.memory.read(facts.rsdp, 8) == b"RSD PTR "
    assert sum(board.memory.read(facts.rsdp, 20)) & 0xFF == 0

    def table(address: int) -> bytes:
        data = board.memory.read(address, board.memory.u32(address + 4))
        assert sum(data) & 0xFF == 0
        return data

    rsdt = table(board.memory.u32(facts.rsdp + 16))
    found = [rsdt, *(table(entry) for (entry,) in struct.iter_unpack("<I", rsdt[36:]))]
    (fadt,) = [one for one in found if one[:4] == b"FACP"]
    facs, dsdt = struct.unpack_from("<II", fadt, 36)
    assert board.memory.read(facs, 4) == b"FACS"
    return {one[:4]: one for one in (*found, table(dsdt))}


@settings(max_examples=25, deadline=None)
@given(st.integers(128, 16 * 1024), st.sampled_from("01"))
def test_memory_map_of_any_size(mib: int, uefi: str) -> None:
    board, facts = build(mib * MIB, uefi=uefi)
    pieces = facts.memory_map
    assert all(first.end <= second.start for first, second in pairwise(pieces))
    assert all(piece.size > 0 for piece in pieces)
    for piece in pieces:
        assert piece.kind is not RAM or board.memory.find(piece.start, piece.size) is not None
    low = 3072 * MIB if mib >= 3584 else mib * MIB
    told = sum(piece.size for piece in pieces if piece.kind is RAM)
    assert 0 < mib * MIB - told < 4 * MIB, "what the firmware keeps"
    assert max(piece.end for piece in pieces if piece.kind is RAM and piece.start < 4 * GIB) <= low
    ram = [(piece.start, piece.end) for piece in pieces if piece.kind is RAM]
    for held in facts.held:
        assert any(start <= held.start and held.end <= end for start, end in ram)


def test_seabios_reserves() -> None:
    """What SeaBIOS 1.16 tells on QEMU with 512 MiB, by the dumps of real machines."""
    _, facts = build()
    assert rows(facts) == [
        (0, 0x9FC00, RAM),
        (0x9FC00, 0xA0000, MemoryKind.RESERVED),
        (0xF0000, 0x100000, MemoryKind.RESERVED),
        (0x100000, 0x1FFE0000, RAM),
        (0x1FFE0000, 0x20000000, MemoryKind.RESERVED),
        (0xFFFC0000, 0x1_0000_0000, MemoryKind.RESERVED),
        (0xFD_0000_0000, 0x100_0000_0000, MemoryKind.RESERVED),
    ]
    assert facts.held == ()
    assert rows(build(hypertransport="0")[1]) == rows(facts)[:-1]


def test_the_split_is_that_of_the_machine() -> None:
    assert max(piece.end for piece in build(3583 * MIB)[1].memory_map if piece.kind is RAM) == 3583 * MIB - (128 << 10)
    board, facts = build(4 * GIB)
    assert (4 * GIB, 5 * GIB, RAM) in rows(facts)
    assert board.memory.find(3 * GIB) is None


@pytest.mark.parametrize(("ram", "uefi"), [(0, "0"), (8 * MIB, "0"), (64 * MIB, "1"), (128 * MIB + 1, "0"), (1 << 50, "0")])
def test_impossible_sizes(ram: int, uefi: str) -> None:
    with pytest.raises(UsageError):
        build(ram, uefi=uefi)


@pytest.mark.parametrize("uefi", ["0", "1"])
def test_tables(uefi: str) -> None:
    board, facts = build(uefi=uefi)
    found = tables(board, facts)
    assert set(found) == {b"RSDT", b"FACP", b"APIC", b"HPET", b"WAET", b"DSDT"}
    assert all(data[10:16] == b"BOCHS " and data[16:24] == b"BXPC    " for data in found.values())
    assert facts.rsdp is not None
    revision = board.memory.u8(facts.rsdp + 15)
    assert revision == (2 if uefi == "1" else 0), "with an XSDT only behind OVMF"
    if revision:
        assert sum(board.memory.read(facts.rsdp, 36)) & 0xFF == 0
        xsdt = board.memory.u64(facts.rsdp + 24)
        assert board.memory.read(xsdt, 4) == b"XSDT"
    held = [piece for piece in facts.memory_map if piece.start <= facts.rsdp < piece.end]
    assert [piece.kind for piece in held] != [RAM]
    assert len(held) == 1


def test_no_table_promises_what_is_not_there() -> None:
    board, facts = build()
    found = tables(board, facts)
    fadt = found[b"FACP"]
    assert struct.unpack_from("<II", fadt, 80) == (0, 0), "no GPE blocks"
    flags = struct.unpack_from("<I", fadt, 112)[0]
    assert flags >> 4 & 7 == 7, "neither buttons nor the clock in the fixed registers"
    assert not flags & (1 << 7 | 1 << 8), "no wake-up, a 24-bit timer"
    for name in (b"_S3_", b"_S4_", b"_PRT", b"_GPE"):
        assert name not in found[b"DSDT"]
    assert b"_S5_" in found[b"DSDT"]


def test_tables_follow_the_switches() -> None:
    board, facts = build(serial="0", rtc="0", pci="0")
    code = tables(board, facts)[b"DSDT"]
    assert all(name not in code for name in (b"COM1", b"RTC_", b"PCI0"))
    assert build(acpi="0", smbios="0")[1].rsdp is None
    board, facts = build(hpet="0")
    found = tables(board, facts)
    assert b"HPET" not in found
    assert b"HPET" not in found[b"DSDT"]
    assert not struct.unpack_from("<I", found[b"FACP"], 112)[0] >> 15 & 1
    assert board.mmio.find(0xFED0_0000) is None
    board, facts = build(bios_area="0")
    assert facts.rsdp is not None
    assert facts.rsdp > MIB
    tables(board, facts)


def test_the_tables_disassemble(iasl: IASL) -> None:
    board, facts = build(8 * GIB)
    for name, data in tables(board, facts).items():
        if name != b"RSDT":
            source = iasl.disassemble(data, name.decode())
            assert name != b"DSDT" or "0x0000000240000000" in source, "64-bit PCI memory begins behind RAM"
    assert iasl.compile_remarks("DSDT") == []


def test_smbios_is_of_the_age_before() -> None:
    """DSP0134 2.8, 5.2.1: two checksums, number and size of the structures, a table below 4 GiB."""
    for uefi in "01":
        board, facts = build(uefi=uefi)
        assert facts.smbios is not None
        entry = board.memory.read(facts.smbios, 31)
        assert entry[:4] == b"_SM_"
        assert entry[16:21] == b"_DMI_"
        assert sum(entry) & 0xFF == sum(entry[16:]) & 0xFF == 0
        assert tuple(entry[6:8]) == (2, 8)
        length, address, count = struct.unpack_from("<HIH", entry, 22)
        data = board.memory.read(address, length)
        assert data.endswith(b"\x7f\x04" + data[-4:-2] + b"\0\0")
        assert b"QEMU\0Standard PC (i440FX + PIIX, 1996)\0pc-i440fx-7.2\0" in data
        assert (b"SeaBIOS" in data) == (uefi == "0")
        at = number = 0
        while at < length:
            at = data.index(b"\0\0", at + data[at + 1]) + 2
            number += 1
        assert number == count


def test_the_guest_takes_the_power_management_over() -> None:
    """ACPI 6.5, 4.8.1 and 16.3.4: SCI_EN follows the commands of the FADT; SLP_EN with the type of _S5 powers off."""
    for uefi, base in (("0", 0x600), ("1", 0xB000)):
        board, facts = build(uefi=uefi)
        fadt = tables(board, facts)[b"FACP"]
        command, enable, disable = struct.unpack_from("<IBB", fadt, 48)
        assert struct.unpack_from("<I", fadt, 64)[0] == base + 4
        control = base + 4
        assert not board.ports.read(control, 2) & 1
        board.outb(command, enable)
        assert board.ports.read(control, 2) & 1
        board.ports.write(control, 2, 1 << 2)
        assert board.ports.read(control, 2) & 1
        board.outb(command, disable)
        assert not board.ports.read(control, 2) & 1
        board.outb(command + 1, 0x55)
        assert board.inb(command + 1) == 0x55
        board.ports.write(control, 2, 1 << 13 | 5 << 10)
        assert board.stops == []
        board.ports.write(control, 2, 1 << 13)
        assert board.stops == ["shutdown"]


def test_the_timer_has_24_bits() -> None:
    board, _ = build()
    board.advance(5_000_000_000)  # it runs over after 4.7 s
    assert board.ports.read(0x608, 4) == 5 * 3_579_545 - (1 << 24)
    assert board.ports.read(0x600, 2) & 1, "bit 23 has changed"


def pci(board: FakeBoard, function: int, register: int, size: int = 4) -> int:
    board.ports.write(0xCF8, 4, 1 << 31 | function << 8 | register & 0xFC)
    return board.ports.read(0xCFC + register % 4, size)


def test_functions_of_the_chipset() -> None:
    board, _ = build()
    found = {function: pci(board, function, 0) for function in range(256)}
    assert {function: value for function, value in found.items() if value != 0xFFFF_FFFF} == {
        0x00: 0x1237_8086,
        0x08: 0x7000_8086,
        0x0B: 0x7113_8086,
    }
    assert [pci(board, function, 8) >> 8 for function in (0x00, 0x08, 0x0B)] == [0x06_0000, 0x06_0100, 0x06_8000]
    assert pci(board, 0x08, 0x0E, 1) == 0x80, "more functions follow"
    assert pci(board, 0x0B, 0x40) == 0x601
    assert pci(build(uefi="1")[0], 0x0B, 0x40) == 0xB001
    board.ports.write(0xCF8, 4, 1 << 31 | 0x08 << 8 | 0x80)
    board.ports.write(0xCFC + 2, 1, 0x02)  # as quirk_passive_release() does
    assert pci(board, 0x08, 0x82, 1) == 0x02
    board.ports.write(0xCF8, 4, 1 << 31 | 0x58)
    board.ports.write(0xCFC + 1, 1, 0x30)
    assert pci(board, 0, 0x59, 1) == 0x10, "shadowing stays as the firmware left it"


def test_cpuid_switches() -> None:
    _, facts = build()
    assert facts.cpuid(1, 0)[2] == 0x8000_2001
    assert build(rdrand="1")[1].cpuid(1, 0)[2] == 0xC000_2001
    assert build(hypervisor="0")[1].cpuid(1, 0)[2] == 0x2001
    assert build(mtrr="0")[1].cpuid(1, 0)[3] >> 12 & 1 == 0
    assert facts.cpuid(0x8000_0001, 0)[2] == 1, "no SVM, which the engine does not have"


def test_registers_that_nobody_knows_read_zero() -> None:
    board, _ = build()
    assert board.msrs is not None
    assert board.msrs.read(0xC001_0055) == 0
    assert board.msrs.write(0xC001_0055, 5)
    assert board.msrs.read(0xC001_0055) == 0
    assert board.msrs.write(0x179, 0)
    assert board.msrs.read(0x179) == 0x100_010A, "read-only"


def test_memory_types() -> None:
    """SeaBIOS: the ROM is write-protected (src/fw/mtrr.c); both: PCI memory is uncached from a power of two on."""
    for uefi, rom in (("0", 0x0505_0505_0505_0505), ("1", 0)):
        board, _ = build(uefi=uefi)
        assert board.msrs is not None
        assert board.msrs.read(0x2FF) == 0xC06
        assert board.msrs.read(0x26F) == rom
        assert board.msrs.read(0x250) == 0x0606_0606_0606_0606
        assert board.msrs.read(0x259) == 0
        assert board.msrs.read(0x200) == 0x8000_0000
        assert board.msrs.read(0x201) == 0xFF_8000_0800
    board, _ = build(3500 * MIB)
    assert board.msrs is not None
    assert board.msrs.read(0x200) == 0xE000_0000


def test_the_io_apic_has_a_register_for_ends_of_interrupts() -> None:
    board, facts = build()
    board.mmio.write(0xFEC0_0000, 4, 1)
    assert board.mmio.read(0xFEC0_0010, 4) == 0x0017_0020
    ioapic = facts.interrupts.ioapic
    ioapic.entries[9] = 1 << 15 | 1 << 14 | 0x31
    board.mmio.write(0xFEC0_0040, 4, 0x30)
    assert ioapic.entries[9] >> 14 & 1 == 1
    board.mmio.write(0xFEC0_0040, 4, 0x31)
    assert ioapic.entries[9] >> 14 & 1 == 0


def test_two_builds_are_the_same() -> None:
    contents = []
    for _ in range(2):
        board, facts = build(uefi="1")
        contents.append((facts.memory_map, facts.held, tables(board, facts)))
    assert contents[0] == contents[1]
