"""The subarch provider: boot.rst's two fields, and an otherwise plain boot_params."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest
from efishim_plugins.subarch.provider import Subarch

from efishim.errors import ProviderError, UsageError
from efishim.provider import CpuMode, Handover, MachineFirmware, Module
from efishim.testing import check_provider, run
from tests.support import loaders, probe_report
from tests.support.loaders import KERNEL, RAMDISK, SEABIOS, e820_of, fields, header_fields, params_of

SUBARCH = Subarch()


@pytest.mark.slow
def test_checker() -> None:
    assert check_provider(SUBARCH, efishim_firmware_stubs.probe_kernel()) == []


@pytest.mark.parametrize(
    ("value", "number"),
    # enum x86_hardware_subarch (arch/x86/include/uapi/asm/bootparam.h), and one number more than it has
    [("0", 0), ("pc", 0), ("lguest", 1), ("xen", 2), ("intel_mid", 3), ("ce4100", 4), ("3", 3), ("5", 5)],
)
def test_value(value: str, number: int) -> None:
    memory, handover = loaders.produced(SUBARCH, loaders.request("linux64", value=value))
    assert params_of(memory, handover).hdr.hardware_subarch == number


@pytest.mark.parametrize(("data", "number"), [("0x123456789abcdef0", 0x123456789ABCDEF0), ("17", 17), ("0", 0)])
def test_data(data: str, number: int) -> None:
    wanted = loaders.with_options(loaders.request("linux64"), data=data)
    memory, handover = loaders.produced(SUBARCH, wanted)
    assert params_of(memory, handover).hdr.hardware_subarch_data == number


@pytest.mark.parametrize("options", [{"value": "6"}, {"value": "XEN"}, {"value": "-1"}, {"data": "x"}, {"data": "-1"}])
def test_options_that_make_no_sense(options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        loaders.produced(SUBARCH, loaders.with_options(loaders.request("linux64"), **options))


def test_data_has_64_bits() -> None:
    with pytest.raises(UsageError):
        loaders.produced(SUBARCH, loaders.with_options(loaders.request("linux64"), data=hex(1 << 64)))


def test_boot_params() -> None:
    wanted = loaders.with_options(loaders.request("linux64"), value="xen", data="0xabc")
    memory, handover = loaders.produced(SUBARCH, wanted)
    params = params_of(memory, handover)
    told = fields(params)
    line = told.pop("hdr.cmd_line_ptr")
    # 0xff is for loaders without a number of their own (boot.rst, "type_of_loader")
    assert told == header_fields(
        type_of_loader=0xFF,
        code32_start=0x100_0000,
        ramdisk_image=RAMDISK.start,
        ramdisk_size=RAMDISK.size,
        hardware_subarch=2,
        hardware_subarch_data=0xABC,
    ) | {"acpi_rsdp_addr": 0xF59D0, "e820_entries": 7}
    assert e820_of(params) == list(SEABIOS)
    assert memory.read(int(line), len(loaders.COMMAND_LINE) + 1) == loaders.COMMAND_LINE + b"\0"


def test_more_ranges_than_the_table_has() -> None:
    ranges = [(n * 0x10_0000, 0x8_0000, 1 + n % 2) for n in range(200)]
    machine = loaders.facts(ranges)
    memory, handover = loaders.produced(SUBARCH, loaders.request("linux64", machine=machine))
    assert e820_of(params_of(memory, handover)) == ranges[:128]
    told = SUBARCH.read_back(memory, handover)
    assert told.memory_map == machine.memory_map
    assert [one.name for one in SUBARCH.structures(memory, handover)][-2:] == [
        "setup_data SETUP_E820_EXT",
        "SETUP_E820_EXT body",
    ]


def test_a_kernel_from_before_the_fields() -> None:
    with pytest.raises(ProviderError, match="0x207"):
        loaders.produced(SUBARCH, loaders.request("linux64", data=loaders.image(version=0x206)))


def test_two_ramdisks_are_one() -> None:
    modules = (RAMDISK, Module(RAMDISK.start + RAMDISK.size, 0x100))
    memory, handover = loaders.produced(SUBARCH, loaders.request("linux64", modules=modules))
    assert params_of(memory, handover).ramdisk() == (RAMDISK.start, RAMDISK.size + 0x100)
    assert any("2 ramdisks" in note for note in handover.notes)


def test_state_and_firmware() -> None:
    state = SUBARCH.cpu_state("linux64", KERNEL, Handover(0x2000))
    assert state.mode is CpuMode.LONG
    assert state.registers["rsi"] == 0x2000
    assert SUBARCH.runs_on("linux64", {}) is MachineFirmware.NONE


@pytest.mark.slow
def test_the_probe_kernel_reads_it() -> None:
    record = run(provider="subarch", cmdline="probe", options=("subarch.value=xen", "subarch.data=0xabc"))
    assert record.outcome.met
    told = probe_report.parse(record.console.replace("\r", "")).fields
    assert told["boot_params.hdr.hardware_subarch"] == "0x2"
    assert told["boot_params.hdr.hardware_subarch_data"] == "0xabc"
    assert told["boot_params.hdr.type_of_loader"] == "0xff"
