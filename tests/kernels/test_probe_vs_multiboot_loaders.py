"""The probe kernel tells through efishim's Multiboot providers what it tells behind QEMU's Multiboot loader and behind GRUB,
field by field. What may differ, and why, is in probe_vs_multiboot_loaders.toml; the machine itself is compared in
test_probe_vs_qemu.py, so only what loaders say and do is compared here.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_kernel, reporting_initrd

from tests.stubs.conftest import CMDLINE, without_header
from tests.support import explained, grub
from tests.support.explained import Comparison
from tests.support.probe_fields import fields
from tests.support.probe_pairs import Get, Pair, Way, pairs
from tests.support.probe_report import ProbeReport
from tests.support.qemu import Boot, Firmware

pytestmark = pytest.mark.qemu

EXCEPTIONS = explained.read(Path(__file__).with_name("probe_vs_multiboot_loaders.toml"))
ENTRIES = {"qemu/multiboot": "multiboot", "grub/multiboot": "multiboot", "grub/multiboot2": "multiboot2"}
OF_THE_MACHINE = ("acpi.", "smbios", "cpuid.")
MIB = 1 << 20
FLAG_IF, FLAG_VM = 1 << 9, 1 << 17


def _boot(way: str, folder: Path) -> Boot:
    loader, _, entry = way.partition("/")
    (folder / "initrd").write_bytes(reporting_initrd())
    if loader == "grub":
        module = "module2" if entry == "multiboot2" else "module"
        files = {"probe.efi": probe_kernel(), "initrd": reporting_initrd()}
        commands = f"{entry} /probe.efi {CMDLINE}\n{module} /initrd"
        return Boot(cdrom=grub.iso(folder / "cd", Firmware.SEABIOS, commands, files))
    (folder / "kernel").write_bytes(without_header(probe_kernel()))
    return Boot(kernel=folder / "kernel", initrd=folder / "initrd", append=CMDLINE)


@pytest.fixture(scope="session")
def told(shared: Path) -> Get:
    """Both reports of a loader and an entry."""
    ways = {name: Way(entry, ("-p", entry, "-e", entry), partial(_boot, name)) for name, entry in ENTRIES.items()}
    return pairs(shared, "multiboot", ways)


def of_the_loader(report: ProbeReport) -> dict[str, str]:
    """The fields that a boot loader is responsible for. Tags in the order of their numbers: no order is laid down."""
    left_out = (*OF_THE_MACHINE, "multiboot2.tag.")
    found = {name: value for name, value in fields(report).items() if not name.startswith(left_out)}
    for row in report.rows("multiboot2.tag"):
        found[f"multiboot2.tag.{row['type']}"] = row["size"]
    # The one module, whose number is that of its tag.
    return {re.sub(r"(?<=^multiboot2\.module)\.\d+", "", name): value for name, value in found.items()}


def compared(way: str, pair: Pair, **changed: str) -> Comparison:
    """The comparison, with fields of ours replaced."""
    return explained.compare(way, of_the_loader(pair.ours) | changed, of_the_loader(pair.real), EXCEPTIONS)


@pytest.mark.parametrize("way", ENTRIES)
def test_the_reports_agree_but_for_what_is_explained(told: Get, way: str) -> None:
    pair = told(way)
    assert pair.ours.entry == pair.real.entry == ENTRIES[way]
    comparison = compared(way, pair)
    assert "\n".join(comparison.unexplained) == ""
    assert comparison.equal > 15  # it is a comparison of something


def test_every_exception_is_needed(told: Get) -> None:
    assert explained.unused(EXCEPTIONS, [compared(way, told(way)) for way in ENTRIES]) == []


@pytest.mark.parametrize(
    ("way", "name", "value"),
    [
        ("qemu/multiboot", "cpu.eax", "0x36d76289"),
        ("qemu/multiboot", "cpu.cr0", "0x80000011"),
        ("qemu/multiboot", "cpu.a20", "0x0"),
        ("qemu/multiboot", "multiboot.mods_count", "0x2"),
        ("qemu/multiboot", "image.bss_zero", "0x0"),
        ("grub/multiboot", "multiboot.flags", "0x24c"),
        ("grub/multiboot", "multiboot.cmdline", "/probe.efi console=ttyS0 some thing=other"),
        ("grub/multiboot2", "multiboot2.cmdline", "console=ttyS0"),
        ("grub/multiboot2", "multiboot2.load_base_addr", "0x200000"),
        ("grub/multiboot2", "multiboot2.module.crc32", "0x0"),
        ("grub/multiboot2", "multiboot2.tag.0x8", "0x26"),
    ],
)
def test_a_defect_would_be_found(told: Get, way: str, name: str, value: str) -> None:
    comparison = compared(way, told(way), **{name: value})
    assert [line.partition(":")[0] for line in comparison.unexplained] == [name]


@pytest.mark.parametrize("way", ENTRIES)
def test_what_the_exceptions_leave_to_other_tests(told: Get, way: str) -> None:
    """EBX points to the information, flags are as section 3.2 wants, all of RAM is told, and the amounts follow from it."""
    entry = ENTRIES[way]
    for report in (told(way).ours, told(way).real):
        assert report.number("cpu.ebx") == report.number(entry)
        assert not report.number("cpu.rflags") & (FLAG_IF | FLAG_VM)
        names = ("addr", "len") if entry == "multiboot" else ("base_addr", "length")
        rows = [(*(int(row[name], 16) for name in names), int(row["type"], 16)) for row in report.rows(f"{entry}.mmap")]
        ram = [(start, size) for start, size, kind in rows if kind == 1]
        assert 511 * MIB < sum(size for _, size in ram) < 512 * MIB
        prefix = "multiboot." if entry == "multiboot" else "multiboot2.meminfo."
        assert report.number(f"{prefix}mem_lower") == ram[0][1] >> 10
        assert report.number(f"{prefix}mem_upper") == ram[1][1] >> 10
        kinds = [row["type"] for row in report.rows("multiboot2.tag")]
        module = report.row(f"{entry}.module.{kinds.index('0x3') if kinds else 0}")
        assert int(module["start"], 16) % 4096 == 0
        assert int(module["end"], 16) - int(module["start"], 16) == len(reporting_initrd())
