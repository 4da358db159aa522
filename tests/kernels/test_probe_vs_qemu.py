"""The probe kernel tells through efishim what it tells on QEMU with SeaBIOS, door by door and field by field: through the PVH
entry, through its own real-mode code, and at the 32-bit entry behind GRUB. What may differ, and why, is in probe_vs_qemu.toml.

EFI with OVMF is compared in test_probe_vs_ovmf.py, Multiboot in the tests of its providers.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_elf, probe_kernel, reporting_initrd

from tests.stubs.conftest import CMDLINE
from tests.support import explained, grub
from tests.support.explained import Comparison
from tests.support.probe_fields import fields
from tests.support.probe_pairs import Get, Pair, Way, pairs
from tests.support.qemu import Boot, Firmware

pytestmark = pytest.mark.qemu

EXCEPTIONS = explained.read(Path(__file__).with_name("probe_vs_qemu.toml"))
ENTRIES = ("pvh", "linux16", "linux32")
OURS = {
    # QEMU's PVH kernels run on SeaBIOS too, and so find ACPI where a BIOS leaves it
    "pvh": ("-p", "hvmlite", "-e", "pvh", "--option", "platform.bios_area=1"),
    "linux16": ("-p", "lilo", "-e", "linux16"),
    "linux32": ("-p", "grub", "-e", "linux32"),
}
MIB = 1 << 20
FLAG_TF, FLAG_IF, FLAG_VM = 1 << 8, 1 << 9, 1 << 17


def _boot(entry: str, folder: Path) -> Boot:
    initrd = folder / "initrd"
    initrd.write_bytes(reporting_initrd())
    if entry == "linux32":
        files = {"probe.efi": probe_kernel(), "initrd": reporting_initrd()}
        return Boot(cdrom=grub.iso(folder / "cd", Firmware.SEABIOS, f"linux /probe.efi {CMDLINE}\ninitrd /initrd", files))
    kernel = folder / "kernel"
    kernel.write_bytes(probe_elf() if entry == "pvh" else probe_kernel())
    return Boot(kernel=kernel, initrd=initrd, append=CMDLINE)


@pytest.fixture(scope="session")
def told(shared: Path) -> Get:
    """Both reports of an entry."""
    return pairs(shared, "qemu", {entry: Way(entry, OURS[entry], partial(_boot, entry)) for entry in ENTRIES})


def compared(entry: str, pair: Pair, **changed: str) -> Comparison:
    """The comparison, with fields of ours replaced."""
    return explained.compare(entry, fields(pair.ours) | changed, fields(pair.real), EXCEPTIONS)


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_reports_agree_but_for_what_is_explained(told: Get, entry: str) -> None:
    pair = told(entry)
    assert pair.ours.entry == pair.real.entry == entry
    comparison = compared(entry, pair)
    assert "\n".join(comparison.unexplained) == ""
    assert comparison.equal > 100  # it is a comparison of something


def test_every_exception_is_needed(told: Get) -> None:
    assert explained.unused(EXCEPTIONS, [compared(entry, told(entry)) for entry in ENTRIES]) == []


@pytest.mark.parametrize(
    ("entry", "name", "value"),
    [
        ("pvh", "cpu.cr0", "0x33"),
        ("pvh", "start_info.version", "0x0"),
        ("pvh", "start_info.rsdp_paddr", "0x0"),
        ("pvh", "start_info.cmdline", "else"),
        ("linux16", "cpu.cr0", "0x11"),
        ("linux16", "boot_params.hdr.loadflags", "0x1"),
        ("linux16", "boot_params.hdr.type_of_loader", "0xff"),
        ("linux16", "bios.int12_0000.eax", "0x280"),
        ("linux32", "cpu.edi", "0x1"),
        ("linux32", "cpu.ecx", "0x1"),
        ("linux32", "boot_params.hdr.kernel_alignment", "0x200000"),
        ("linux32", "boot_params.screen_info.orig_video_isVGA", "0x0"),
    ],
)
def test_a_defect_would_be_found(told: Get, entry: str, name: str, value: str) -> None:
    comparison = compared(entry, told(entry), **{name: value})
    assert [line.partition(":")[0] for line in comparison.unexplained] == [name]


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_the_exceptions_leave_to_other_tests(told: Get, entry: str) -> None:
    """Pointers point to what they should, flags are as the specification wants, and all of RAM is told."""
    for report in (told(entry).ours, told(entry).real):
        flags = report.number("cpu.eflags" if entry == "linux16" else "cpu.rflags")
        assert not flags & (FLAG_TF | FLAG_IF | FLAG_VM)
        if entry == "pvh":
            assert report.number("cpu.ebx") == report.number("start_info")
            rows = report.rows("start_info.memmap")
        else:
            rows = report.rows("boot_params.e820")
        if entry == "linux16":
            segments = {name: report.number(f"cpu.{name}") for name in ("cs", "ds", "es", "fs", "gs", "ss")}
            assert segments.pop("cs") == segments["ds"] + 0x20
            assert len(set(segments.values())) == 1
            heap_end = report.number("boot_params.hdr.heap_end_ptr") + 0x200
            start = segments["ds"] << 4
            assert report.number("cpu.esp") & 0xFFFF >= heap_end - 0x200
            assert report.number("boot_params.hdr.cmd_line_ptr") == start + heap_end
        if entry == "linux32":
            assert report.number("cpu.esi") == report.number("boot_params")
        ram = sum(int(row["size"], 16) for row in rows if int(row["type"], 16) == 1)
        assert 511 * MIB < ram < 512 * MIB
        ramdisk = report.numbers("start_info.module.0" if entry == "pvh" else "boot_params.ramdisk")
        assert ramdisk["size"] == len(reporting_initrd())
