"""MSRs: what exists, what faults, and what the MTRRs make of an address."""

from __future__ import annotations

import pytest

from efishim.platform.devices.lapic import LocalApic
from efishim.platform.devices.msr import MsrFile, pc_msrs
from tests.platform.fakes import FakeBoard

GIB = 1 << 30
UNCACHED, WRITE_BACK = 0, 6


@pytest.fixture
def msrs() -> MsrFile:
    board = FakeBoard()
    lapic = LocalApic(board.clock, board.now, 1_000_000_000, lambda: None, lambda vector: None)
    return pc_msrs(lapic, pci_hole=(3 * GIB, GIB))


def need(msrs: MsrFile, number: int) -> int:
    value = msrs.read(number)
    assert value is not None, f"MSR {number:#x} does not exist"
    return value


def memory_type(msrs: MsrFile, address: int) -> int:
    """SDM volume 3A, "MTRR Precedences", for the cases that occur here."""
    default = need(msrs, 0x2FF)
    if not default & 1 << 11:
        return UNCACHED
    if address < 1 << 20 and default & 1 << 10:
        for number, start, size in [(0x250, 0, 0x10000), (0x258, 0x80000, 0x4000), (0x259, 0xA0000, 0x4000)] + [
            (0x268 + index, 0xC0000 + index * 0x8000, 0x1000) for index in range(8)
        ]:
            if start <= address < start + 8 * size:
                return need(msrs, number) >> 8 * ((address - start) // size) & 0xFF
    types = set()
    for pair in range(need(msrs, 0xFE) & 0xFF):
        base, mask = need(msrs, 0x200 + 2 * pair), need(msrs, 0x201 + 2 * pair)
        if mask & 1 << 11 and address & mask & ~0xFFF == base & mask & ~0xFFF:
            types.add(base & 0xFF)
    return min(types) if types else default & 0xFF


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (0, WRITE_BACK),
        (0x7FFFF, WRITE_BACK),
        (0x9FFFF, WRITE_BACK),
        (0xA0000, UNCACHED),
        (0xFFFFF, UNCACHED),
        (0x100000, WRITE_BACK),
        (3 * GIB - 1, WRITE_BACK),
        (3 * GIB, UNCACHED),
        (0xFEE0_0000, UNCACHED),
        (4 * GIB - 1, UNCACHED),
        (4 * GIB, WRITE_BACK),
        (64 * GIB, WRITE_BACK),
    ],
)
def test_mtrrs_cover_ram_and_spare_devices(msrs: MsrFile, address: int, kind: int) -> None:
    assert memory_type(msrs, address) == kind


def test_mtrr_writes(msrs: MsrFile) -> None:
    assert not msrs.write(0xFE, 0), "MTRRcap is read-only"
    assert not msrs.write(0x2FF, 7), "an undefined type"
    assert not msrs.write(0x2FF, 1 << 9), "a reserved bit"
    assert msrs.write(0x2FF, 6)
    assert msrs.read(0x2FF) == 6
    assert not msrs.write(0x202, 1 << 45), "beyond the physical address width"
    assert msrs.write(0x203, 0xFF_FFFF_F800 & ~0x7FF | 0x800)
    assert not msrs.write(0x250, 0x0606_0606_0606_0602)
    assert msrs.write(0x26F, 0x0505_0505_0505_0505)


def test_pat(msrs: MsrFile) -> None:
    assert msrs.read(0x277) == 0x0007_0406_0007_0406, "SDM table 12-12, PAT after reset"
    linux = 0x0407_0506_0007_0106  # WB WC UC- UC WB WP UC- WT
    assert msrs.write(0x277, linux)
    assert msrs.read(0x277) == linux
    assert not msrs.write(0x277, 0x02)
    assert not msrs.write(0x277, 0x0806_0606_0606_0606)
    assert msrs.read(0x277) == linux, "a refused value changes nothing"


def test_registers_that_linux_reads_unguarded(msrs: MsrFile) -> None:
    for number in (0x17, 0x1B, 0x8B, 0xFE, 0x179, 0x17A, 0x1A0, 0x277, 0x2FF, 0x400, 0x401, 0x402, 0x403):
        need(msrs, number)
    assert need(msrs, 0x179) & 0xFF == 2, "machine check banks"
    assert need(msrs, 0x1A0) & 1, "fast strings, or Linux drops REP_GOOD"
    assert not need(msrs, 0x1A0) & 1 << 22, "CPUID is not limited"
    assert need(msrs, 0x3A) & 1, "feature control is locked"


def test_microcode_signature(msrs: MsrFile) -> None:
    assert msrs.write(0x8B, 0), "written before CPUID leaf 1"
    assert need(msrs, 0x8B) >> 32 == 1


def test_apic_base_is_the_local_apics(msrs: MsrFile) -> None:
    assert msrs.read(0x1B) == 0xFEE0_0900
    assert not msrs.write(0x1B, 0xFEE0_0D00)
    assert msrs.write(0x1B, 0xFEE0_0900)


@pytest.mark.parametrize("number", [0x48, 0x49, 0xCE, 0x10A, 0x140, 0x606, 0x6E0, 0x800, 0xC001_0015, 0xFFFF_FFFF])
def test_what_does_not_exist_faults(msrs: MsrFile, number: int) -> None:
    assert msrs.read(number) is None
    assert not msrs.write(number, 0)


def test_read_only_registers_refuse_a_change_and_take_their_own_value(msrs: MsrFile) -> None:
    assert not msrs.write(0x3A, 5)
    assert msrs.write(0x3A, 1)
    assert not msrs.write(0x1D9, 1)
    assert msrs.write(0x1D9, 0)
    assert not msrs.write(0x401, 1), "bank status takes zero only"


def test_a_platform_adds_its_own(msrs: MsrFile) -> None:
    written: list[int] = []

    def write(value: int) -> bool:
        written.append(value)
        return value != 3

    msrs.handle(0x4B56_4D00, lambda: 7, write)
    assert msrs.read(0x4B56_4D00) == 7
    assert msrs.write(0x4B56_4D00, 1)
    assert not msrs.write(0x4B56_4D00, 3)
    assert written == [1, 3]
    assert 0x4B56_4D00 in msrs.numbers


def test_without_mtrrs() -> None:
    board = FakeBoard()
    lapic = LocalApic(board.clock, board.now, 1_000_000_000, lambda: None, lambda vector: None)
    msrs = pc_msrs(lapic, pci_hole=None)
    assert msrs.read(0xFE) is None
    assert msrs.read(0x277) is not None
