"""The EFI environment of OVMF as the probe kernel tells it, against UEFI 2.10 and against what QEMU was given."""

from __future__ import annotations

import struct
import tomllib
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_kernel, reporting_initrd

from tests.stubs.conftest import CMDLINE, Probed

pytestmark = pytest.mark.qemu

Get = Callable[[str], Probed]

ANSWERS = tomllib.loads(Path(__file__).with_name("uefi_answers.toml").read_text())
EFI_WAYS = ["ovmf/efi", "grub-efi/efi", "grub-efi/efi-handover", "grub-efi/multiboot2-efi"]
ACPI_20 = "8868e871-e4f1-11d3-bc22-0080c73c8881"
PAGE = 4096
RAM_TYPES = {*range(1, 8), 9, 10}  # loader, boot services, runtime, conventional; ACPI reclaim and NVS


@pytest.mark.parametrize("way", EFI_WAYS)
def test_tables(probed: Get, way: str) -> None:
    """UEFI 2.10, 4.2 to 4.6: signatures, sizes and CRCs of the three tables."""
    report = probed(way).report
    for table, signature, size in [
        ("system_table", "IBI SYST", 0x78),
        ("boot_services", "BOOTSERV", 0x178),
        ("runtime_services", "RUNTSERV", 0x88),
    ]:
        assert report.fields[f"efi.{table}.signature"] == signature
        assert report.number(f"efi.{table}.header_size") == size
        assert report.number(f"efi.{table}.revision") >> 16 == 2
        assert report.number(f"efi.{table}.reserved") == 0
        assert report.fields[f"efi.{table}.crc"] == "valid"
    config = {row["guid"]: int(row["table"], 16) for row in report.rows("efi.config")}
    assert len(config) == report.number("efi.system_table.number_of_table_entries")
    assert config[ACPI_20] == report.number("acpi.rsdp")
    assert report.fields["efi.system_table.firmware_vendor"] == "EDK II"


@pytest.mark.parametrize("way", ["ovmf/efi", "grub-efi/efi"])
def test_loaded_image(probed: Get, way: str) -> None:
    """UEFI 2.10, 9.1, and what the PE header asks for."""
    report, image = probed(way).report, probe_kernel()
    (pe,) = struct.unpack_from("<I", image, 0x3C)
    (size_of_image,) = struct.unpack_from("<I", image, pe + 24 + 56)
    assert report.number("efi.loaded_image.revision") == 0x1000
    assert report.number("efi.loaded_image.image_size") == size_of_image
    assert report.number("efi.loaded_image.image_base") == report.number("image.base")
    assert report.number("efi.loaded_image.image_code_type") == 1  # EfiLoaderCode
    assert report.number("efi.loaded_image.image_data_type") == 2  # EfiLoaderData
    assert report.number("efi.loaded_image.system_table_same") == 1
    options = report.fields["efi.loaded_image.load_options"]
    assert options.removeprefix("/probe.efi ").startswith(CMDLINE)
    assert report.fields["efi.loaded_image.file_path"].endswith(" 7fff:0x4")


@pytest.mark.parametrize("way", EFI_WAYS)
def test_memory_map(probed: Get, way: str) -> None:
    """UEFI 2.10, 7.2.3: aligned, without overlap, all of RAM; the image lies in memory for loader code."""
    report = probed(way).report
    rows = [{name: int(value, 16) for name, value in row.items()} for row in report.rows("efi.memory_map")]
    assert len(rows) == report.number("efi.memory_map.descriptors")
    assert report.number("efi.memory_map.descriptor_size") >= 40
    assert report.number("efi.memory_map.descriptor_version") == 1
    rows.sort(key=lambda row: row["phys"])
    assert all(row["phys"] % PAGE == 0 and row["pages"] > 0 and row["virt"] == 0 for row in rows)
    assert all(one["phys"] + one["pages"] * PAGE <= two["phys"] for one, two in pairwise(rows))
    ram = sum(row["pages"] for row in rows if row["type"] in RAM_TYPES and row["phys"] < 512 << 20)
    assert (511 << 20) - (1 << 20) <= ram * PAGE <= 512 << 20
    for kind in range(16):
        told = sum(row["pages"] for row in rows if row["type"] == kind)
        assert report.number(f"efi.memory_map.pages.{kind}") == told
    runtime = [row for row in rows if row["attr"] >> 63]
    assert {5, 6} <= {row["type"] for row in runtime}
    if way in {"ovmf/efi", "grub-efi/efi"}:
        base = report.number("image.base")
        (home,) = [row for row in rows if row["phys"] <= base < row["phys"] + row["pages"] * PAGE]
        assert home["type"] == 1


def test_initrd_by_load_file_2(probed: Get) -> None:
    """The vendor media path of Linux's stub: first the size, then the bytes that QEMU was given."""
    report = probed("ovmf/efi").report
    assert report.fields["efi.initrd.size_status"] == "BUFFER_TOO_SMALL"
    assert report.number("efi.initrd.size") == len(reporting_initrd())
    assert report.number("efi.initrd.crc32") == zlib.crc32(reporting_initrd())


@pytest.mark.parametrize("way", EFI_WAYS)
def test_every_call_is_answered_as_specified(probed: Get, way: str) -> None:
    fields = probed(way).report.fields
    told = {key.removeprefix("efi.call."): value for key, value in fields.items() if key.startswith("efi.call.")}
    assert set(told) == set(ANSWERS["call"])
    exceptions = ANSWERS["ovmf"]["call"]
    wrong = {}
    for name, status in told.items():
        allowed = ANSWERS["call"][name]
        if name in exceptions:
            allowed = exceptions[name][0]
        if status not in ([allowed] if isinstance(allowed, str) else allowed):
            wrong[name] = status
    assert not wrong


@pytest.mark.parametrize("way", EFI_WAYS)
def test_numbers_that_the_specification_fixes(probed: Get, way: str) -> None:
    report = probed(way).report
    told = {key.removeprefix("efi.value."): report.number(key) for key in report.fields if key.startswith("efi.value.")}
    assert told == ANSWERS["value"]


def test_exceptions_are_still_needed(probed: Get) -> None:
    """An explained exception that no longer happens has to leave the list."""
    fields = probed("ovmf/efi").report.fields
    for name, (status, reason) in ANSWERS["ovmf"]["call"].items():
        assert reason
        assert fields[f"efi.call.{name}"] == status
        assert status not in ANSWERS["call"][name]


@pytest.mark.parametrize("way", EFI_WAYS)
def test_runtime_services_work_at_virtual_addresses(probed: Get, way: str) -> None:
    """UEFI 2.10, 8.4: the table's pointers are converted, and the machine is powered off through them."""
    probe = probed(way)
    assert probe.report.number("efi.virtual.ranges") > 0
    assert probe.report.number("efi.virtual.get_time_half") == 0x1FFFF
    assert probe.report.after == ("probe: power off by efi",)
