"""Records of real firmware against dumps that were taken by other means, and against what the specifications promise."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
from efishim_firmware_stubs import reporting_initrd
from msgspec import structs

from efishim.image.opened import read_image_file
from efishim.lab.record import Milestone, Reason, Record, decode, encode, without_wall_clock
from tests.oracle.conftest import CMDLINE, Booted
from tests.support import init_report

pytestmark = pytest.mark.qemu

TOLD: dict[str, Any] = tomllib.loads(Path(__file__).with_name("told.toml").read_text())
JUNK = ("eddbuf", "_pad", "edd_mbr_sig_buffer")
"""GRUB's linux command copies what its heap held; where boot.rst says nothing, nothing is expected."""

DIRECT = "lilo/linux16+linuxboot"
TO_USERSPACE = ["entry", "startup_64", "start_kernel", "init", "userspace", "shutdown"]

each_flow = pytest.mark.parametrize("flow", TOLD)


def told(record: Record) -> dict[str, int | str]:
    """boot_params at startup_64, but for zeroes."""
    assert record.boot_view is not None
    return {name: value for name, value in record.boot_view.boot_params.items() if value and not name.startswith(JUNK)}


def milestones(record: Record) -> list[str]:
    return [point.name.value for point in record.milestones]


@each_flow
def test_boot_params_are_what_the_dumps_say(booted: Booted, cloud_kernel: Path, flow: str) -> None:
    expected, fields = TOLD[flow], told(booted(flow))
    linux = read_image_file(cloud_kernel).parts.bzimage
    assert linux is not None
    assert {name: fields.pop(name, 0) for name in expected["own"]} == {
        name: linux.value(name.removeprefix("hdr.")) for name in expected["own"]
    }
    assert all(fields.pop(name, 0) for name in expected["placed"])
    assert fields == expected["boot_params"]


@each_flow
def test_the_memory_map_is_what_the_dumps_say(booted: Booted, flow: str) -> None:
    view = booted(flow).boot_view
    assert view is not None
    rows = [(int(one.addr), int(one.size), one.type_name) for one in view.e820]
    assert [f"{start:#x} {start + size - 1:#x} {kind}" for start, size, kind in rows] == TOLD[flow]["e820"]


@each_flow
def test_the_processor_at_the_entry_is_what_the_dumps_say(booted: Booted, flow: str) -> None:
    view = booted(flow).entry_view
    assert view is not None
    cpu = view.cpu
    numbers = structs.asdict(cpu.registers) | structs.asdict(cpu.control)
    found: dict[str, int | str] = {}
    for name in TOLD[flow]["cpu"]:
        if name == "mode":
            found[name] = cpu.mode
        elif name in cpu.segments.__struct_fields__:
            one = cpu.segments.named(name)
            found[name] = f"{one.selector} {one.base} {one.limit} {one.attributes}"
        else:
            found[name] = numbers[name]
    assert found == TOLD[flow]["cpu"]


@each_flow
def test_real_loaders_do_what_the_specifications_ask(booted: Booted, flow: str) -> None:
    """The checkers of the entries against what they were not written from. QEMU's PVH loader loads no TSS."""
    assert [one.rule for one in booted(flow).abi or ()] == (["pvh/tr"] if flow == "hvmlite/pvh" else [])
    assert booted(flow).abi is not None


@each_flow
def test_every_way_goes_on_to_userspace_and_power_off(booted: Booted, flow: str) -> None:
    record = booted(flow)
    assert [name for name in milestones(record) if name != "exit_boot_services"] == TO_USERSPACE
    assert (Milestone.EXIT_BOOT_SERVICES in milestones(record)) == (flow == "firmware/efi")
    assert record.outcome.reason is Reason.SHUTDOWN
    assert record.outcome.met
    assert init_report.parse(record.console.replace("\r", ""))
    seconds = [point.seconds for point in record.milestones]
    assert seconds == sorted(seconds)
    symbols = {point.name: point.at.symbol for point in record.milestones if point.at is not None}
    assert symbols[Milestone.STARTUP_64] == "startup_64+0x0"
    assert symbols[Milestone.START_KERNEL] == "start_kernel+0x0"
    assert decode(encode(record)) == without_wall_clock(record)


@each_flow
def test_the_ramdisk_and_the_command_line_arrive(booted: Booted, flow: str) -> None:
    record = booted(flow)
    prefix, suffix = {
        "firmware/efi": ("", " initrd=initrd"),  # QEMU adds it for stubs that do not know LoadFile2
        "grub/linux32": ("BOOT_IMAGE=/vmlinuz ", ""),
        "lilo/linux16": ("BOOT_IMAGE=/vmlinuz ", ""),
    }.get(flow, ("", ""))
    digest = hashlib.sha256(reporting_initrd()).hexdigest()
    for view in (record.boot_view, record.kernel_view):
        assert view is not None
        assert view.command_line is not None
        assert view.command_line.text == f"{prefix}{CMDLINE.decode()}{suffix}"
        assert view.initrd is not None
        assert view.initrd.sha256 == digest
    assert record.entry_view is not None
    if flow != "firmware/efi":
        assert [module.sha256 for module in record.entry_view.modules] == [digest]


def test_nothing_changes_between_startup_64_and_start_kernel(booted: Booted) -> None:
    """The kernel copies boot_params and the command line (arch/x86/kernel/head64.c, copy_bootdata)."""
    record = booted(DIRECT)
    assert record.boot_view is not None
    assert record.kernel_view is not None
    assert record.boot_view.boot_params == record.kernel_view.boot_params
    assert record.boot_view.address != record.kernel_view.address


def test_a_pvh_kernel_finds_start_info(booted: Booted) -> None:
    """start_info.h: version 1 with memory map and one module."""
    view = booted("hvmlite/pvh").entry_view
    assert view is not None
    structures = {one.name: one for one in view.structures}
    info = structures["hvm_start_info"].fields
    assert (info["magic"], info["version"], info["nr_modules"]) == (0x336EC578, 1, 1)
    assert info["memmap_entries"] == 7  # the dump has them too, and Linux adds an eighth
    assert structures["command line"].text == CMDLINE.decode()
    assert structures["hvm_start_info"].address == view.cpu.registers.rbx


def test_the_calls_of_the_stub_in_their_order(booted: Booted) -> None:
    """drivers/firmware/efi/libstub: LoadedImage first; the ramdisk by LoadFile2 in two calls; the map before the exit."""
    record = booted("firmware/efi")
    names = [call.service for call in record.firmware_calls]
    first, last = record.firmware_calls[0], names.index("BootServices.ExitBootServices")
    assert first.service == "BootServices.HandleProtocol"
    assert first.args[1].value == "EFI_LOADED_IMAGE_PROTOCOL_GUID"
    assert first.status == "EFI_SUCCESS"
    loads = [call for call in record.firmware_calls if call.service == "LoadFile2.LoadFile"]
    assert [call.status for call in loads] == ["EFI_BUFFER_TOO_SMALL", "EFI_SUCCESS"]
    assert loads[1].results[0].value == f"{len(reporting_initrd()):#x}"
    assert names[last - 1] == "BootServices.GetMemoryMap"
    before, leaving = record.firmware_calls[last - 1], record.firmware_calls[last]
    keys = [one.value for one in before.results if one.name == "MapKey"]
    assert [one.value for one in leaving.args if one.name == "MapKey"] == keys
    after = names[last + 1 :]
    assert after[0] == "RuntimeServices.SetVirtualAddressMap"
    assert after[1:]
    assert all(name.startswith("RuntimeServices.") for name in after)
    assert 27 <= len(names) <= 100
    assert all(call.status for call in record.firmware_calls)
    assert all(call.caller is not None and call.caller.symbol for call in record.firmware_calls)


def test_a_kernel_that_moves_itself_is_found(booted: Booted) -> None:
    record = booted(DIRECT, b"console=ttyS0")
    assert milestones(record) == TO_USERSPACE
    places = {point.name: point.at for point in record.milestones}
    start = places[Milestone.START_KERNEL]
    assert start is not None
    assert start.symbol == "start_kernel+0x0"
    fixed = {point.name: point.at for point in booted(DIRECT).milestones}[Milestone.START_KERNEL]
    assert fixed is not None
    moved = start.address - fixed.address
    assert moved % 0x20_0000 == 0
    assert 0 <= moved < 1 << 30
    assert "start_kernel" not in " ".join(record.notes)


def test_a_kernel_without_init_resets_and_says_so(booted: Booted) -> None:
    record = booted(DIRECT, b"console=ttyS0 nokaslr panic=-1 init=/nothing rdinit=/nothing")
    assert record.outcome.reason is Reason.RESET
    assert not record.outcome.met
    assert "Kernel panic - not syncing" in record.console


def test_what_qemu_cannot_tell_is_said(booted: Booted) -> None:
    record = booted(DIRECT)
    assert (record.tool.name, record.tool.unicorn, record.route.platform) == ("qemu", "", "qemu")
    assert "SeaBIOS bios-256k.bin sha256:" in record.tool.version
    assert [point.insns for point in record.milestones] == [0] * len(TO_USERSPACE)
    assert record.ledger == []
    assert any("counts no instructions" in note for note in record.notes)
    assert not record.outcome.reproducible
    assert record.reproduce.startswith("efishim oracle ")
