"""SMBIOS: DSP0134's rules, walked as an operating system does."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from efishim.platform.tables.smbios import SmbiosConfig, build_entry_point, build_structures

MIB, GIB = 1 << 20, 1 << 30
CONFIG = SmbiosConfig(
    low_ram=3 * GIB,
    high_ram=13 * GIB,
    cpu_mhz=2100,
    cpu_brand="efishim emulated processor @ 2.10GHz",
    cpu_signature=0x078B_FBFF_0001_06CF,
    product="pc",
    firmware_version="0.1.0",
)


@dataclass(frozen=True)
class Structure:
    """One structure: its formatted area and its strings, numbered from 1."""

    data: bytes
    strings: tuple[str, ...]

    def number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], "little")

    def text(self, at: int) -> str:
        return self.strings[self.data[at] - 1] if self.data[at] else ""


def walk(table: bytes) -> list[Structure]:
    """6.1.2 and 6.1.3: header, formatted area, strings, double NUL."""
    found = []
    at = 0
    while at < len(table):
        length = table[at + 1]
        assert length >= 4
        end = table.index(b"\0\0", at + length)
        strings = tuple(part.decode() for part in table[at + length : end].split(b"\0") if part)
        found.append(Structure(table[at : at + length], strings))
        at = end + 2
    return found


@pytest.fixture
def structures() -> dict[int, list[Structure]]:
    found: dict[int, list[Structure]] = {}
    for structure in walk(build_structures(CONFIG)):
        found.setdefault(structure.data[0], []).append(structure)
    return found


def test_order_and_handles() -> None:
    everything = walk(build_structures(CONFIG))
    assert everything[0].data[0] == 0
    assert everything[-1].data[0] == 127
    handles = [structure.number(2, 2) for structure in everything]
    assert len(set(handles)) == len(handles)


def test_entry_point() -> None:
    """Table 2 of section 5.2.2."""
    entry = build_entry_point(0x1FFF_D020, 0x234)
    assert entry[:5] == b"_SM3_"
    assert len(entry) == entry[6] == 0x18
    assert sum(entry) & 0xFF == 0
    assert entry[7:9] == b"\x03\x00"
    assert entry[10] == 1
    assert int.from_bytes(entry[12:16], "little") == 0x234
    assert int.from_bytes(entry[16:24], "little") == 0x1FFF_D020


def test_it_says_what_it_is(structures: dict[int, list[Structure]]) -> None:
    bios, system = structures[0][0], structures[1][0]
    assert (bios.text(4), bios.text(5)) == ("efishim", "0.1.0")
    assert int(bios.text(8)[6:]) >= 2001, "Linux distrusts ACPI of older machines"
    assert bios.data[0x13] & 0x18 == 0x18, "UEFI, virtual machine"
    assert (system.text(4), system.text(5)) == ("efishim", "pc")
    assert len(set(system.data[8:24])) > 1, "neither all zero nor all ones"
    assert structures[4][0].text(0x10) == CONFIG.cpu_brand
    assert structures[4][0].number(8, 8) == CONFIG.cpu_signature


def test_memory(structures: dict[int, list[Structure]]) -> None:
    array, device = structures[16][0], structures[17][0]
    assert array.number(7, 4) == 16 * GIB // 1024
    assert device.number(4, 2) == array.number(2, 2), "the device is in the array"
    assert device.number(0x0C, 2) == 16 * 1024
    ranges = [(item.number(4, 4), item.number(8, 4)) for item in structures[19]]
    assert ranges == [(0, 3 * MIB - 1), (4 * MIB, 17 * MIB - 1)], "in KiB, inclusive"


@pytest.mark.parametrize(("total", "size", "extended"), [(0x7FFE * MIB, 0x7FFE, 0), (64 * GIB, 0x7FFF, 64 * 1024)])
def test_large_memory_devices(total: int, size: int, extended: int) -> None:
    """7.18.5: from 32 GiB - 1 MiB on the extended size counts."""
    config = replace(CONFIG, low_ram=GIB, high_ram=total - GIB)
    device = next(item for item in walk(build_structures(config)) if item.data[0] == 17)
    assert (device.number(0x0C, 2), device.number(0x1C, 4)) == (size, extended)


def test_one_range_without_high_memory() -> None:
    config = replace(CONFIG, high_ram=0)
    assert sum(item.data[0] == 19 for item in walk(build_structures(config))) == 1


@pytest.mark.parametrize(
    ("kind", "length"), [(0, 0x18), (1, 0x1B), (3, 0x16), (4, 0x30), (16, 0x17), (17, 0x28), (19, 0x1F), (32, 0x0B)]
)
def test_lengths_of_version_3(structures: dict[int, list[Structure]], kind: int, length: int) -> None:
    assert structures[kind][0].data[1] == length
