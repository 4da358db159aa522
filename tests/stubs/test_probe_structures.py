"""What the probe kernel reads out of the native structures, against what went into QEMU: command line, ramdisk, memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from efishim_firmware_stubs import probe_kernel, reporting_initrd

from tests.stubs.conftest import CMDLINE, Probed
from tests.support.probe_report import ProbeReport

pytestmark = pytest.mark.qemu

Get = Callable[[str], Probed]

RAM = 512 << 20
INITRD = reporting_initrd()
CRC = zlib.crc32(INITRD)
MIB = 1 << 20

LINUX_WAYS = ["qemu/linux16", "grub/linux16", "grub/linux32", "grub-efi/linux32", "grub-efi/efi-handover", "kexec/linux64"]


def ranges(report: ProbeReport, prefix: str, names: tuple[str, str, str]) -> list[tuple[int, int, int]]:
    """A memory map as (address, size, type), in its own order."""
    rows = [{name: int(value, 16) for name, value in row.items()} for row in report.rows(prefix)]
    return [(row[names[0]], row[names[1]], row[names[2]]) for row in rows]


BIOS_MAPS = {
    "qemu/linux16": ("boot_params.e820", ("addr", "size", "type")),
    "grub/linux16": ("boot_params.e820", ("addr", "size", "type")),
    "grub/linux32": ("boot_params.e820", ("addr", "size", "type")),
    "qemu/pvh": ("start_info.memmap", ("addr", "size", "type")),
    "qemu/multiboot": ("multiboot.mmap", ("addr", "len", "type")),
    "grub/multiboot": ("multiboot.mmap", ("addr", "len", "type")),
    "grub/multiboot2": ("multiboot2.mmap", ("base_addr", "length", "type")),
}


@pytest.mark.parametrize("way", BIOS_MAPS)
def test_the_memory_map_tells_all_of_ram_and_no_more(probed: Get, way: str) -> None:
    told = sorted(ranges(probed(way).report, *BIOS_MAPS[way]))
    for (start, size, _), (following, _, _) in pairwise(told):
        assert start + size <= following
    below = [(start, size) for start, size, _kind in told if start < RAM]
    # Everything below the end of RAM is described but for the VGA and option ROM hole.
    assert sum(size for _start, size in below) == RAM - (0xF0000 - 0xA0000)
    usable = [(start, start + size) for start, size, kind in told if kind == 1]
    assert usable[0][0] == 0
    assert usable[1][0] == MIB
    assert max(end for _start, end in usable) <= RAM
    assert sum(end - start for start, end in usable) > RAM - MIB


def test_every_loader_on_this_machine_tells_the_same_memory_map(probed: Get) -> None:
    maps = {way: ranges(probed(way).report, *where) for way, where in BIOS_MAPS.items()}
    assert all(told == maps["qemu/pvh"] for told in maps.values())


@pytest.mark.parametrize("way", LINUX_WAYS)
def test_linux_ramdisk_and_command_line(probed: Get, way: str) -> None:
    report = probed(way).report
    ramdisk = report.numbers("boot_params.ramdisk")
    assert (ramdisk["size"], ramdisk["crc32"]) == (len(INITRD), CRC)
    assert ramdisk["addr"] + ramdisk["size"] - 1 <= report.number("boot_params.hdr.initrd_addr_max")
    prefix = "BOOT_IMAGE=/probe.efi " if way.startswith("grub") else ""
    assert report.fields["boot_params.cmdline"] == prefix + CMDLINE


@pytest.mark.parametrize(
    ("way", "loader"),
    [("qemu/linux16", 0xB0), ("grub/linux16", 0x72), ("grub/linux32", 0x72), ("kexec/linux64", 0xD0)],
)
def test_linux_header_fields(probed: Get, way: str, loader: int) -> None:
    """Fields that a loader must hand on as the file has them, and its own number (boot.rst, type_of_loader)."""
    report, image = probed(way).report, probe_kernel()
    assert report.number("boot_params.hdr.type_of_loader") == loader
    for name, at, size in [
        ("header", 0x202, 4),
        ("version", 0x206, 2),
        ("kernel_alignment", 0x230, 4),
        ("xloadflags", 0x236, 2),
        ("payload_offset", 0x248, 4),
        ("payload_length", 0x24C, 4),
        ("pref_address", 0x258, 8),
        ("init_size", 0x260, 4),
        ("handover_offset", 0x264, 4),
    ]:
        assert report.number(f"boot_params.hdr.{name}") == int.from_bytes(image[at : at + size], "little"), name


@pytest.mark.parametrize("way", ["qemu/linux16", "grub/linux16"])
def test_bios_calls_agree_with_each_other(probed: Get, way: str) -> None:
    """Interrupt 12h, 15h/88h, 15h/E801h and 15h/E820h all speak of the same memory."""
    report = probed(way).report
    told = ranges(report, *BIOS_MAPS[way])
    low, high = told[0][1], next(size for start, size, kind in told if (start, kind) == (MIB, 1))
    assert report.numbers("bios.int12_0000")["eax"] & 0xFFFF == low >> 10
    e801 = report.numbers("bios.int15_e801")
    assert e801["flags"] & 1 == 0
    below_16m, above_16m = e801["ecx"] & 0xFFFF or e801["eax"] & 0xFFFF, e801["edx"] & 0xFFFF or e801["ebx"] & 0xFFFF
    assert (below_16m << 10) + (above_16m << 16) == high // (64 << 10) * (64 << 10)
    # 64 MiB at most fit into AX.
    assert report.numbers("bios.int15_8800")["eax"] & 0xFFFF in range(0xFC00, 0x10000)


def test_pvh_start_info(probed: Get) -> None:
    """start_info.h: version 1 with modules, command line and RSDP."""
    report = probed("qemu/pvh").report
    assert report.number("start_info.magic") == 0x336EC578
    assert report.number("start_info.version") == 1
    assert report.fields["start_info.cmdline"] == CMDLINE
    assert report.number("start_info.nr_modules") == 1
    module = report.numbers("start_info.module.0")
    assert (module["size"], module["crc32"]) == (len(INITRD), CRC)
    assert report.number("acpi.rsdp") == report.number("start_info.rsdp_paddr")


@pytest.mark.parametrize("way", ["qemu/multiboot", "grub/multiboot"])
def test_multiboot_information(probed: Get, way: str) -> None:
    report = probed(way).report
    flags = report.number("multiboot.flags")
    assert flags & 0b1001101 == 0b1001101  # memory, command line, modules, memory map
    assert report.number("multiboot.mem_lower") <= 640
    assert report.number("multiboot.mem_upper") << 10 == ranges(report, *BIOS_MAPS[way])[3][1]
    assert report.fields["multiboot.cmdline"].endswith(CMDLINE)
    module = report.row("multiboot.module.0")
    start, end = int(module["start"], 16), int(module["end"], 16)
    assert (end - start, int(module["crc32"], 16)) == (len(INITRD), CRC)
    assert start % 4096 == 0  # our header asks for it
    assert report.fields["acpi.rsdp_found"] == "scan"  # multiboot 1 cannot name it


@pytest.mark.parametrize("way", ["grub/multiboot2", "grub-efi/multiboot2-efi"])
def test_multiboot2_information(probed: Get, way: str) -> None:
    report = probed(way).report
    tags = [int(row["type"], 16) for row in report.rows("multiboot2.tag")]
    assert tags[-1] == 0
    assert report.number("multiboot2.reserved") == 0
    assert {1, 2, 3, 15 if way.startswith("grub-efi") else 14} <= set(tags)
    assert report.fields["multiboot2.cmdline"] == CMDLINE
    module = report.row(f"multiboot2.module.{tags.index(3)}")
    assert int(module["end"], 16) - int(module["start"], 16) == len(INITRD)
    assert int(module["crc32"], 16) == CRC
    assert module["string"] == "first module"
    assert report.fields["acpi.rsdp_found"] == "given"


@pytest.mark.parametrize("way", ["qemu/linux16", "qemu/pvh", "ovmf/efi", "kexec/linux64"])
def test_acpi_and_smbios(probed: Get, way: str) -> None:
    """Every checksum is right (ACPI 6.5, 5.2.6; SMBIOS 3.6, 5.2), and the tables that Linux needs are there."""
    report = probed(way).report
    assert report.number("acpi.rsdp.sum") == 0
    tables = report.rows("acpi.table")
    assert {"FACP", "DSDT", "APIC", "FACS"} <= {table["signature"] for table in tables}
    assert {table["sum"] for table in tables} == {"0x0"}
    assert report.number("smbios.sum") == 0
    assert report.rows("smbios.structure")[-1]["type"] == "0x7f"
    assert len(report.rows("smbios.structure")) == report.number("smbios.structures")
    assert report.numbers("acpi.madt.0")["type"] == 0  # a local APIC


def test_cpuid(probed: Get) -> None:
    """The vendor of `-cpu qemu64`, and the hypervisor leaf that QEMU's TCG has."""
    report = probed("qemu/pvh").report
    zero = report.numbers("cpuid.0x0")
    vendor = b"".join(zero[register].to_bytes(4, "little") for register in ("ebx", "edx", "ecx"))
    assert vendor == b"AuthenticAMD"
    hypervisor = report.numbers("cpuid.0x40000000")
    assert hypervisor["ebx"].to_bytes(4, "little") == b"TCGT"
    assert report.numbers("cpuid.0x80000001")["edx"] >> 29 & 1  # long mode
