"""AML: encodings that the specification spells out, and all of the DSDT against ACPICA's compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.errors import MachineError
from efishim.platform.tables import aml
from efishim.platform.tables.acpi import finish
from efishim.platform.tables.dsdt import DsdtContents, definition_block
from efishim.wire.acpi import SdtHeader
from tests.platform.iasl import IASL

ASL = r"""
DefinitionBlock ("", "DSDT", 2, "EFSHIM", "EFISHIM ", 1)
{
    Scope (\_SB)
    {
        Device (CPU0) { Name (_HID, "ACPI0007")  Name (_UID, 0) }
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_BBN, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0xFF, 0, 0x100)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0, 0x0CF7, 0, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x0D00, 0xFFFF, 0, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0, 0xA0000, 0xBFFFF, 0, 0x20000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000)
            })
        }
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                IRQNoFlags () {4}
            })
        }
        Device (RTC0)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 1, 2)
                IRQNoFlags () {8}
            })
        }
    }
    Name (\_S5, Package () {5, 5, 0, 0})
}
"""


def test_the_dsdt_is_what_the_compiler_makes_of_the_same_source(iasl: IASL, tmp_path: Path) -> None:
    contents = DsdtContents(serial=True, rtc=True, pci_window=(0xC000_0000, 0xFEBF_FFFF), vga_window=True)
    (tmp_path / "dsdt.asl").write_text(ASL)
    subprocess.run([iasl.program, "-p", "compiled", "dsdt.asl"], cwd=tmp_path, check=True, capture_output=True)
    compiled = (tmp_path / "compiled.aml").read_bytes()
    assert definition_block(contents) == compiled[SdtHeader.SIZE :]


@pytest.mark.parametrize(
    "contents",
    [
        DsdtContents(serial=True, rtc=True, pci_window=(0xC000_0000, 0xFEBF_FFFF), vga_window=False),
        DsdtContents(serial=False, rtc=False, pci_window=None, vga_window=False),
    ],
)
def test_a_dsdt_disassembles_and_compiles_again_without_remarks(iasl: IASL, contents: DsdtContents) -> None:
    table = finish(bytes(SdtHeader.SIZE) + definition_block(contents), b"DSDT", 2)
    source = iasl.disassemble(table, "dsdt")
    assert ("PNP0501" in source) is contents.serial
    assert ("PNP0A03" in source) is (contents.pci_window is not None)
    assert "_S5" in source
    assert iasl.compile_remarks("dsdt") == []


def test_package_length_of_the_specification() -> None:
    """20.2.4: one byte up to 63, then four bits and one to three more bytes; it counts itself."""
    assert aml.package_length(0) == b"\x01"
    assert aml.package_length(62) == b"\x3f"
    assert aml.package_length(63) == b"\x41\x04", "65 = 0x41"
    assert aml.package_length(4093) == b"\x4f\xff"
    assert aml.package_length(4094) == b"\x81\x00\x01"
    assert aml.package_length((1 << 20) - 4) == b"\x8f\xff\xff"
    assert aml.package_length((1 << 20) - 3) == b"\xc1\x00\x00\x01"
    with pytest.raises(MachineError):
        aml.package_length(1 << 28)


@given(st.integers(0, (1 << 28) - 5))
def test_package_length_reads_back(size: int) -> None:
    data = aml.package_length(size)
    follow = data[0] >> 6
    assert len(data) == 1 + follow
    total = data[0] & 0x3F if not follow else (data[0] & 0x0F) | int.from_bytes(data[1:], "little") << 4
    assert total == size + len(data)


def test_integers() -> None:
    assert [aml.integer(value) for value in (0, 1, 2, 0x100, 0x10000, 1 << 32)] == [
        b"\x00",
        b"\x01",
        b"\x0a\x02",
        b"\x0b\x00\x01",
        b"\x0c\x00\x00\x01\x00",
        b"\x0e\x00\x00\x00\x00\x01\x00\x00\x00",
    ]
    with pytest.raises(MachineError):
        aml.integer(1 << 64)


def test_eisa_ids() -> None:
    assert aml.eisa_id("PNP0A03") == b"\x0c\x41\xd0\x0a\x03"
    assert aml.eisa_id("PNP0501") == b"\x0c\x41\xd0\x05\x01"


def test_names() -> None:
    assert aml.path("\\_SB") == b"\\_SB_"
    assert aml.path("\\_SB.PCI0") == b"\\\x2e_SB_PCI0"
    assert aml.path("\\_SB.PCI0.ISA") == b"\\\x2f\x03_SB_PCI0ISA_"
    for wrong in ("", "TOOLONG", "1ABC", "ab", "A-B"):
        with pytest.raises(MachineError):
            aml.name_seg(wrong)
