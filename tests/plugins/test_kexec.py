"""The kexec provider against what kexec_file_load of Debian's 6.1.176 left in memory (QEMU 7.2: SeaBIOS, OVMF, PVH)."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest
from efishim_plugins.kexec.provider import Kexec

from efishim.errors import ProviderError, UsageError
from efishim.provider import CpuMode, EfiFacts, Framebuffer, Handover, Loaded, MachineFacts, MachineFirmware, Module
from efishim.testing import Ram, check_provider, run
from efishim.wire.bootparams import BootParams, EfiSetupData, SetupData
from tests.support import loaders, probe_report
from tests.support.loaders import COMMAND_LINE, SEABIOS, e820_of, efi_map, fields, header_fields, params_of

KEXEC = Kexec()
RAMDISK = Module(0x1CB5_9000, 0xA6E00)
RUNTIME = 1 << 63
REGIONS = (
    # (type, physical, virtual, pages, attributes): what Linux maps of OVMF's memory, and two pieces that it does not
    (7, 0x10_0000, 0, 0x706, 0xF),
    (6, 0x1EAA_0000, 0xFFFF_FFFE_FE6A_0000, 0x102, RUNTIME | 0xF),
    (5, 0x1F5E_C000, 0xFFFF_FFFE_FF1E_C000, 0x100, RUNTIME | 0xF),
    (9, 0x1F76_C000, 0, 0x12, 0xF),
    (11, 0xFFC0_0000, 0xFFFF_FFFE_FFC0_0000, 0x400, RUNTIME | 1),
)
OVMF = (
    # what the platform under OVMF has, without what the firmware takes of it for runtime services
    (0x0, 0xA0000, 1),
    (0x100000, 0x706000, 1),
    (0x806000, 0x2000, 4),
    (0x808000, 0x1EF64000, 1),
    (0x1F76C000, 0x12000, 3),
    (0x1F77E000, 0x882000, 1),
)
TOLD = [
    # as the dump has it: runtime data, runtime code and the flash are reserved
    *OVMF[:3],
    (0x808000, 0x1E298000, 1),
    (0x1EAA0000, 0x102000, 2),
    (0x1EBA2000, 0xA4A000, 1),
    (0x1F5EC000, 0x100000, 2),
    (0x1F6EC000, 0x80000, 1),
    *OVMF[4:],
    (0xFFC00000, 0x400000, 2),
]
EFI = EfiFacts(0x1F5E_B018, efi_map(*REGIONS), 48, 1, fw_vendor=0x1F52_AA18, runtime=0, tables=0x1F5E_BC98, smbios=0x1F52_0000)
"""Addresses of the dump."""
NO_DISPLAY = {
    # As qboot leaves it, which like this machine has no video BIOS.
    "screen_info.orig_video_cols": 80,
    "screen_info.orig_video_lines": 25,
    "screen_info.orig_video_ega_bx": 0x10,
}


def made(source: str, machine: MachineFacts | None = None) -> tuple[Ram, Handover, BootParams]:
    wanted = loaders.request("linux64", machine=machine, modules=(RAMDISK,), source=source)
    memory, handover = loaders.produced(KEXEC, wanted)
    return memory, handover, params_of(memory, handover)


def expected(at: int, **changes: int) -> dict[str, int | str]:
    """What all three sources have alike; the command line follows boot_params."""
    header = {"type_of_loader": 0xD0, "loadflags": 0, "ramdisk_image": 0x1CB5_9000, "ramdisk_size": 0xA6E00}
    return header_fields(**header, cmd_line_ptr=at + 0x1000, **changes)


@pytest.mark.slow
def test_checker() -> None:
    assert check_provider(KEXEC, efishim_firmware_stubs.probe_kernel()) == []


def test_from_a_bios() -> None:
    memory, handover, params = made("bios")
    assert fields(params) == expected(handover.address or 0) | NO_DISPLAY | {
        "screen_info.ext_mem_k": 0xFC00,
        "acpi_rsdp_addr": 0xF59D0,
        "alt_mem_k": 0x7FB7F,
        "e820_entries": 7,
    }
    assert e820_of(params) == list(SEABIOS)
    assert memory.read(params.hdr.cmd_line_ptr, len(COMMAND_LINE) + 1) == COMMAND_LINE + b"\0"


def test_from_pvh() -> None:
    # QEMU tells a PVH kernel the same map without the BIOS; the kernel adds the hole between 640 KiB and 1 MiB.
    told = [entry for entry in SEABIOS if entry[0] != 0xF0000]
    _, handover, params = made("pvh", loaders.facts(told))
    assert fields(params) == expected(handover.address or 0) | {
        "screen_info.ext_mem_k": 0xFC00,
        "acpi_rsdp_addr": 0xF59D0,
        "alt_mem_k": 0x7FB7F,
        "e820_entries": 6,
    }
    assert e820_of(params) == [(0, 0x9FC00, 1), (0x9FC00, 0x60400, 2), *SEABIOS[3:]]


def test_the_hole_replaces_what_was_there() -> None:
    _, _, params = made("pvh", loaders.facts([(0, 0x2000_0000, 1), (0xA0000, 0x1000, 4)]))
    assert e820_of(params) == [(0, 0xA0000, 1), (0xA0000, 0x60000, 2), (0x100000, 0x1FF0_0000, 1)]


def test_from_efi() -> None:
    memory, handover, params = made("efi", loaders.facts(OVMF, rsdp=0x1F77_D014, efi=EFI))
    at = handover.address or 0
    # The command line has 55 bytes with its end, 30 are for elfcorehdr=: 0x1055, and the map follows on a multiple of 16.
    # Three descriptors of 48 bytes later comes the setup_data node. The dump has the same distances, with seven descriptors.
    assert fields(params) == expected(at, setup_data=at + 0x1060 + 3 * 48) | {
        "screen_info.ext_mem_k": 0x1C17,
        "acpi_rsdp_addr": 0x1F77_D014,
        "efi_info.efi_loader_signature": "EL64",
        "efi_info.efi_systab": 0x1F5E_B018,
        "efi_info.efi_memdesc_size": 0x30,
        "efi_info.efi_memdesc_version": 1,
        "efi_info.efi_memmap": at + 0x1060,
        "efi_info.efi_memmap_size": 3 * 48,
        "alt_mem_k": 0x1C17,
        "e820_entries": 11,
        "secure_boot": 2,
    }
    assert memory.read(at + 0x1060, 3 * 48) == efi_map(*(one for one in REGIONS if one[4] & RUNTIME))
    assert e820_of(params) == TOLD


def test_setup_efi() -> None:
    memory, _, params = made("efi", loaders.facts(efi=EFI))
    head = SetupData.parse(memory.read(params.hdr.setup_data, 16))
    assert (head.type, head.len, head.next) == (4, 96, 0)
    body = EfiSetupData.parse(memory.read(params.hdr.setup_data + 16, 96))
    assert (body.fw_vendor, body.tables, body.smbios) == (0x1F52_AA18, 0x1F5E_BC98, 0x1F52_0000)


def test_the_framebuffer_of_an_efi_stub() -> None:
    display = Framebuffer(0x8000_0000, 1280, 800, 5120, 32, red=(16, 8), green=(8, 8), blue=(0, 8))
    _, _, params = made("efi", MachineFacts(loaders.facts().memory_map, framebuffer=display, efi=EFI))
    screen = {name: value for name, value in fields(params).items() if name.startswith("screen_info.") and "mem" not in name}
    # the dump's values: OVMF's mode of 1280 by 800
    assert screen == {
        "screen_info.orig_video_isVGA": 0x70,
        "screen_info.lfb_width": 0x500,
        "screen_info.lfb_height": 0x320,
        "screen_info.lfb_depth": 0x20,
        "screen_info.lfb_base": 0x8000_0000,
        "screen_info.lfb_size": 0x3E8000,
        "screen_info.lfb_linelength": 0x1400,
        "screen_info.red_size": 8,
        "screen_info.red_pos": 0x10,
        "screen_info.green_size": 8,
        "screen_info.green_pos": 8,
        "screen_info.blue_size": 8,
        "screen_info.rsvd_size": 8,
        "screen_info.rsvd_pos": 0x18,
        "screen_info.pages": 1,
        "screen_info.capabilities": 1,
    }


def test_state() -> None:
    state = KEXEC.cpu_state("linux64", Loaded(0x1CC0_0000, 0x337_8000, 0x1CC0_0200), Handover(0x9_8000))
    assert state.mode is CpuMode.LONG
    assert state.rip == 0x1CC0_0200
    assert state.registers == {
        "rsi": 0x9_8000,
        "rsp": 0x9_8000,
        "eflags": 0x46,
        "cr0": 0x8000_0033,
        "cr4": 0x20,
        "efer": 0xD01,
    }
    assert (state.segments["cs"].selector, state.segments["cs"].attributes) == (0x10, 0xA09A)
    assert (state.segments["tr"].selector, state.segments["tr"].base) == (0x40, 0xFFFF_FE00_0000_3000)


def test_the_stack_is_free_memory_below_boot_params() -> None:
    memory, handover, _ = made("bios")
    assert memory.read((handover.address or 0) - 0x1000, 0x1000) == bytes(0x1000)
    assert 0x4000 <= (handover.address or 0) < 0x9FC00


def test_the_second_ramdisk_stays_behind() -> None:
    wanted = loaders.request("linux64", modules=(RAMDISK, Module(0x1D00_0000, 0x1000)))
    memory, handover = loaders.produced(KEXEC, wanted)
    assert params_of(memory, handover).ramdisk() == (RAMDISK.start, RAMDISK.size)
    assert any("the first of 2" in note for note in handover.notes)


def test_more_ranges_than_the_table_has() -> None:
    ranges = [(n * 0x10_0000, 0x8_0000, 1) for n in range(130)]
    memory, handover = loaders.produced(KEXEC, loaders.request("linux64", machine=loaders.facts(ranges)))
    params = params_of(memory, handover)
    assert e820_of(params) == ranges[:128]
    assert params.hdr.setup_data == 0
    assert any("left 2 ranges out" in note for note in handover.notes)


def test_a_command_line_that_would_not_leave_room_for_elfcorehdr() -> None:
    # bzImage64_load: the line with its end and 30 bytes must not be longer than cmdline_size
    loaders.produced(KEXEC, loaders.request("linux64", command_line=b"x" * (2047 - 31)))
    with pytest.raises(ProviderError):
        loaders.produced(KEXEC, loaders.request("linux64", command_line=b"x" * (2047 - 30)))


@pytest.mark.parametrize(
    ("source", "firmware"),
    [("bios", MachineFirmware.BIOS), ("efi", MachineFirmware.EFI_RUNTIME), ("pvh", MachineFirmware.NONE)],
)
def test_what_was_there_before(source: str, firmware: MachineFirmware) -> None:
    assert KEXEC.runs_on("linux64", {"source": source}) is firmware


def test_a_source_that_does_not_exist() -> None:
    with pytest.raises(UsageError):
        KEXEC.runs_on("linux64", {"source": "coreboot"})


def test_efi_must_be_there() -> None:
    with pytest.raises(ProviderError):
        made("efi")


def test_the_probe_kernel_takes_the_entry() -> None:
    assert KEXEC.entries[0].high
    record = run(provider="kexec", cmdline="probe")
    assert record.outcome.met
    told = probe_report.parse(record.console.replace("\r", "")).fields
    at = int(told["cpu.rsi"], 16)
    # kexec64-bios/entry.json: every register but RSI and RSP is zero, and the control registers are these
    assert {name: told[f"cpu.{name}"] for name in ("rax", "rbx", "rcx", "rdx", "rdi", "rbp", "r8", "r15")} == dict.fromkeys(
        ("rax", "rbx", "rcx", "rdx", "rdi", "rbp", "r8", "r15"), "0x0"
    )
    control = {"cr0": "0x80000033", "cr4": "0x20", "efer": "0xd01", "rflags": "0x46"}
    assert {name: told[f"cpu.{name}"] for name in control} == control
    assert told["boot_params.hdr.cmd_line_ptr"] == hex(at + 0x1000)


def test_pieces() -> None:
    memory, handover, _ = made("efi", loaders.facts(OVMF, efi=EFI))
    names = [one.name for one in KEXEC.structures(memory, handover) if not one.name.startswith("e820")]
    assert names == ["boot_params", "command line", "EFI memory map", "setup_data SETUP_EFI", "SETUP_EFI body"]
