"""The grub provider against what GRUB 2.06 left in memory on SeaBIOS and on OVMF (QEMU 7.2, Debian's kernel 6.1.176)."""

from __future__ import annotations

from dataclasses import replace

import efishim_firmware_stubs
import pytest
from efishim_plugins.grub.provider import Grub

from efishim.errors import ProviderError, UsageError
from efishim.provider import (
    CpuMode,
    EfiFacts,
    Framebuffer,
    Handover,
    Loaded,
    MachineFacts,
    MachineFirmware,
    MemoryKind,
    MemoryRange,
    Module,
)
from efishim.testing import check_provider, run
from tests.support import loaders
from tests.support.loaders import COMMAND_LINE, KERNEL, RAMDISK, SEABIOS, e820_of, efi_map, fields, header_fields, params_of

GRUB = Grub()
EFI_KERNEL = Loaded(0x4A0_0000, 0x337_8000, 0x4A0_0000)
EFI_RAMDISK = Module(0x1DF1_9000, 0xA6E00)
RUNTIME = 1 << 63
SMALL_EFI_MAP = efi_map(
    # the kinds of memory in OVMF's map at that moment, a few pages of each
    (3, 0x0, 0, 1, 0xF),
    (7, 0x1000, 0, 0x9F, 0xF),
    (7, 0x10_0000, 0, 0x706, 0xF),
    (10, 0x80_6000, 0, 2, 0xF),
    (7, 0x80_8000, 0, 8, 0xF),
    (2, 0x90_0000, 0, 0x10, 0xF),
    (1, 0x91_0000, 0, 0x10, 0xF),
    (4, 0x92_0000, 0, 0x10, 0xF),
    (6, 0x1F4E_C000, 0, 0x100, RUNTIME | 0xF),
    (5, 0x1F5E_C000, 0, 0x100, RUNTIME | 0xF),
    (0, 0x1F6E_C000, 0, 0x80, 0xF),
    (9, 0x1F76_C000, 0, 0x12, 0xF),
    (11, 0xFFC0_0000, 0, 0x400, RUNTIME | 1),
)
SMALL_EFI_TABLE = [
    # what GRUB makes of it: neighbours merged, runtime code with GRUB's own number 20, which the dump has too
    (0x0, 0xA0000, 1),
    (0x100000, 0x706000, 1),
    (0x806000, 0x2000, 4),
    (0x808000, 0x8000, 1),
    (0x900000, 0x30000, 1),
    (0x1F4EC000, 0x100000, 2),
    (0x1F5EC000, 0x100000, 20),
    (0x1F6EC000, 0x80000, 2),
    (0x1F76C000, 0x12000, 3),
    (0xFFC00000, 0x400000, 2),
]
EFI = EfiFacts(0x1F5E_B018, SMALL_EFI_MAP, 48, 1, interrupts=(0x1F07_B018, 0xFFF), page_tables=0x1F80_1000)


@pytest.mark.slow
def test_checker() -> None:
    assert check_provider(GRUB, efishim_firmware_stubs.probe_kernel()) == []


@pytest.mark.parametrize("entry", ["linux32", "linux64", "efi"])
def test_boot_params_on_a_bios(entry: str) -> None:
    memory, handover = loaders.produced(GRUB, loaders.request(entry))
    assert handover.address == 0x8A000
    params = params_of(memory, handover)
    # The dump has in addition what the kernel's decompressor wrote before it was taken (acpi_rsdp_addr, scratch), the row that
    # GRUB's cursor was in on the VGA, and bytes of GRUB's own in eddbuf, whose count is 0.
    assert fields(params) == header_fields(
        root_dev=0x100,
        boot_flag=0,
        type_of_loader=0x72,
        loadflags=0x81,
        code32_start=0x100_0000,
        ramdisk_image=0x1F08_C000,
        ramdisk_size=0xA6E00,
        heap_end_ptr=0x8E00,
        cmd_line_ptr=0x8F000,
    ) | {
        "screen_info.ext_mem_k": 0x8000,
        "screen_info.orig_video_mode": 3,
        "screen_info.orig_video_cols": 80,
        "screen_info.orig_video_lines": 25,
        "screen_info.orig_video_isVGA": 1,
        "screen_info.orig_video_points": 16,
        "screen_info.cl_magic": 0xA33F,
        "screen_info.cl_offset": 0x1000,
        "alt_mem_k": 0x8000,
        "e820_entries": 7,
    }
    assert e820_of(params) == list(SEABIOS)
    assert memory.read(0x8F000, 76) == b"BOOT_IMAGE=/vmlinuz " + COMMAND_LINE + b"\0"


def test_boot_params_on_efi() -> None:
    wanted = loaders.request(
        "linux32", machine=loaders.facts(efi=EFI), modules=(EFI_RAMDISK,), kernel=EFI_KERNEL, platform="efi"
    )
    memory, handover = loaders.produced(GRUB, wanted)
    params, at = params_of(memory, handover), handover.address or 0
    told = fields(params)
    # Where the low structures are depends on the size of the memory map; the dump has 0x87000, 0x8c000 and 0x8d000.
    assert told.pop("hdr.cmd_line_ptr") == at + 0x5000
    assert told.pop("efi_info.efi_memmap") == at + 0x6000
    assert told == header_fields(
        root_dev=0x100,
        boot_flag=0,
        type_of_loader=0x72,
        loadflags=0x81,
        code32_start=0x4A0_0000,
        ramdisk_image=0x1DF1_9000,
        ramdisk_size=0xA6E00,
        heap_end_ptr=0x8E00,
        kernel_alignment=0x10_0000,
    ) | {
        "screen_info.ext_mem_k": 0x8000,
        "screen_info.orig_video_points": 16,
        "screen_info.cl_magic": 0xA33F,
        "screen_info.cl_offset": 0x1000,
        "efi_info.efi_loader_signature": "EL64",
        "efi_info.efi_systab": 0x1F5E_B018,
        "efi_info.efi_memdesc_size": 48,
        "efi_info.efi_memdesc_version": 1,
        "efi_info.efi_memmap_size": len(SMALL_EFI_MAP),
        "alt_mem_k": 0x8000,
        "e820_entries": len(SMALL_EFI_TABLE),
        "secure_boot": 2,
    }
    assert e820_of(params) == SMALL_EFI_TABLE
    assert memory.read(at + 0x6000, len(SMALL_EFI_MAP)) == SMALL_EFI_MAP


def test_linuxefi() -> None:
    memory, handover = loaders.produced(GRUB, loaders.request("efi-handover", platform="efi"))
    params = params_of(memory, handover)
    line = params.hdr.cmd_line_ptr
    # The dump was taken behind the stub; what linuxefi itself writes are the header, its loader type and four addresses.
    assert fields(params) == header_fields(
        type_of_loader=0x21,
        code32_start=0x100_0000,
        ramdisk_image=0x1F08_C000,
        ramdisk_size=0xA6E00,
        cmd_line_ptr=line,
    )
    assert memory.read(line, 20) == b"BOOT_IMAGE=/vmlinuz "
    assert line < 0x4000_0000
    assert (handover.address or 0) < 0x4000_0000


def test_load_image_passes_nothing_but_the_command_line() -> None:
    memory, handover = loaders.produced(GRUB, loaders.request("efi", platform="efi"))
    assert handover == Handover(None, load_options=b"BOOT_IMAGE=/vmlinuz " + COMMAND_LINE)
    assert not memory.written()


@pytest.mark.parametrize(
    ("ramdisks", "options"),
    [
        (0, COMMAND_LINE),
        (1, COMMAND_LINE + b" initrd=\\initrd.img"),
        (2, COMMAND_LINE + b" initrd=\\initrd.img initrd=\\initrd1.img"),
    ],
)
def test_chainloader_passes_the_words_and_lets_the_stub_read_the_ramdisk(ramdisks: int, options: bytes) -> None:
    wanted = replace(loaders.request("efi", platform="efi", command="chainloader"), ramdisks=ramdisks)
    memory, handover = loaders.produced(GRUB, wanted)
    assert handover == Handover(None, load_options=options, ramdisks_on_disk=True)
    assert not memory.written()


def test_on_a_bios_nothing_is_chainloaded_through_the_firmware() -> None:
    _, handover = loaders.produced(GRUB, loaders.request("efi", command="chainloader"))
    assert handover.address is not None
    assert not handover.ramdisks_on_disk
    with pytest.raises(UsageError, match="linux or chainloader"):
        loaders.produced(GRUB, loaders.request("efi", platform="efi", command="linuxefi"))


def test_state_on_a_bios() -> None:
    state = GRUB.cpu_state("linux32", KERNEL, Handover(0x8A000))
    assert state.mode is CpuMode.PROTECTED
    assert state.rip == 0x100_0000
    assert state.registers == {"rsi": 0x8A000, "rsp": 0x8A000, "eflags": 0x46, "gdtr.limit": 0x20}
    assert (state.segments["cs"].selector, state.segments["cs"].attributes) == (0x10, 0xC09A)
    for name in ("ds", "es", "fs", "gs", "ss"):
        assert (state.segments[name].selector, state.segments[name].attributes) == (0x18, 0xC093)
    assert state.descriptors[2:] == (0x00CF9A000000FFFF, 0x00CF93000000FFFF)


def test_state_on_efi() -> None:
    wanted = loaders.request("linux32", machine=loaders.facts(efi=EFI), platform="efi")
    _, handover = loaders.produced(GRUB, wanted)
    state = GRUB.cpu_state("linux32", KERNEL, handover)
    control = {name: state.registers[name] for name in ("cr0", "cr4", "efer", "eflags")}
    assert control == {"cr0": 0x10033, "cr4": 0x648, "efer": 0x800, "eflags": 0x200006}
    tables = {name: state.registers[name] for name in ("gdtr.limit", "idtr.base", "idtr.limit", "cr3")}
    assert tables == {"gdtr.limit": 0x20, "idtr.base": 0x1F07_B018, "idtr.limit": 0xFFF, "cr3": 0x1F80_1000}


def test_state_at_the_64_bit_entry() -> None:
    state = GRUB.cpu_state("linux64", Loaded(0x100_0000, 0x1000, 0x100_0200), Handover(0x8A000))
    assert state.mode is CpuMode.LONG
    assert (state.rip, state.registers["rsi"]) == (0x100_0200, 0x8A000)
    assert (state.segments["cs"].selector, state.segments["cs"].attributes) == (0x10, 0xA09A)
    assert state.identity_map == 4 << 30


def test_two_ramdisks_are_one() -> None:
    second = Module(0x1F13_2E00, 0x123)
    memory, handover = loaders.produced(GRUB, loaders.request("linux64", modules=(RAMDISK, second)))
    assert params_of(memory, handover).ramdisk() == (0x1F08_C000, 0x1F13_2E00 + 0x123 - 0x1F08_C000)
    assert any("2 ramdisks" in note for note in handover.notes)
    assert GRUB.module_alignment == 4


def test_no_ramdisk() -> None:
    memory, handover = loaders.produced(GRUB, loaders.request("linux64", modules=()))
    params = params_of(memory, handover)
    assert params.ramdisk() == (0, 0)
    assert params.hdr.root_dev == 0


@pytest.mark.parametrize(("line", "set_"), [(b"quiet", True), (b"a quietly b", True), (b"loud", False)])
def test_quiet(line: bytes, set_: bool) -> None:
    memory, handover = loaders.produced(GRUB, loaders.request("linux64", command_line=line))
    assert bool(params_of(memory, handover).hdr.loadflags & 0x20) is set_


def test_arguments_that_do_not_fit_are_dropped() -> None:
    # cmdline_size is 2047: BOOT_IMAGE=/vmlinuz and ` first` are 25 of it, the long word 2001, ` third` 6; 15 are left
    fits = b"first " + b"x" * 2000 + b" third"
    for line, dropped in ((fits + b" " + b"y" * 14, 0), (fits + b" " + b"y" * 15 + b" z", 2)):
        memory, handover = loaders.produced(GRUB, loaders.request("linux64", command_line=line))
        told = GRUB.read_back(memory, handover).command_line
        assert told == b"BOOT_IMAGE=/vmlinuz " + (fits if dropped else line)
        assert any(f"{dropped} of its arguments" in note for note in handover.notes) is bool(dropped)


def test_more_ranges_than_the_table_has() -> None:
    ranges = [(0, 0x9F000, 1), *((0x100000 + n * 0x100000, 0x80000, 1 + n % 2) for n in range(199))]
    memory, handover = loaders.produced(GRUB, loaders.request("linux64", machine=loaders.facts(ranges)))
    assert e820_of(params_of(memory, handover)) == ranges[:128]
    assert any("72 ranges more" in note for note in handover.notes)


def test_a_framebuffer_on_a_bios_is_kept_only_when_asked() -> None:
    display = Framebuffer(0xFD00_0000, 1024, 768, 4096, 32, red=(16, 8), green=(8, 8), blue=(0, 8))
    machine = MachineFacts(loaders.facts().memory_map, framebuffer=display)
    memory, handover = loaders.produced(GRUB, loaders.request("linux32", machine=machine))
    assert params_of(memory, handover).screen_info.orig_video_isVGA == 1
    memory, handover = loaders.produced(GRUB, loaders.request("linux32", machine=machine, gfxpayload="keep"))
    screen = params_of(memory, handover).screen_info
    # VESA's size is in units of 64 KiB (include/uapi/linux/screen_info.h)
    assert (screen.orig_video_isVGA, screen.lfb_size, screen.lfb_base) == (0x23, 48, 0xFD00_0000)
    assert (screen.rsvd_size, screen.rsvd_pos) == (8, 24)
    assert GRUB.read_back(memory, handover).framebuffer == display


def test_a_framebuffer_on_efi() -> None:
    display = Framebuffer(0x8000_0000, 1280, 800, 5120, 32, red=(16, 8), green=(8, 8), blue=(0, 8))
    machine = MachineFacts(loaders.facts().memory_map, framebuffer=display, efi=EFI)
    memory, handover = loaders.produced(GRUB, loaders.request("linux32", machine=machine, platform="efi"))
    screen = params_of(memory, handover).screen_info
    assert (screen.orig_video_isVGA, screen.lfb_size, screen.capabilities) == (0x70, 0x3F0000, 2)


@pytest.mark.parametrize(
    ("entry", "options", "firmware"),
    [
        ("linux32", {}, MachineFirmware.BIOS),
        ("efi", {}, MachineFirmware.BIOS),
        ("linux32", {"platform": "efi"}, MachineFirmware.EFI),
        ("efi-handover", {"platform": "efi"}, MachineFirmware.EFI),
        ("efi-handover", {}, MachineFirmware.EFI),
    ],
)
def test_what_it_runs_on(entry: str, options: dict[str, str], firmware: MachineFirmware) -> None:
    assert GRUB.runs_on(entry, options) is firmware


@pytest.mark.parametrize(("entry", "options"), [("linux32", {"platform": "mac"}), ("efi-handover", {"platform": "pc"})])
def test_options_that_make_no_sense(entry: str, options: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        GRUB.runs_on(entry, options)


def test_gfxpayload_has_two_values() -> None:
    with pytest.raises(UsageError):
        loaders.produced(GRUB, loaders.request("linux32", gfxpayload="800x600"))


def test_efi_must_be_there() -> None:
    with pytest.raises(ProviderError):
        loaders.produced(GRUB, loaders.request("linux32", platform="efi"))


def test_no_low_memory() -> None:
    machine = MachineFacts((MemoryRange(0x10_0000, 0x1000_0000, MemoryKind.RAM),))
    with pytest.raises(ProviderError, match="no room for boot_params"):
        loaders.produced(GRUB, loaders.request("linux32", machine=machine))


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["linux32", "linux64"])
def test_the_probe_kernel_takes_the_entry(entry: str) -> None:
    record = run(provider="grub", entry=entry, cmdline="probe")
    assert record.outcome.met
    assert "BOOT_IMAGE=/vmlinuz probe" in record.console
