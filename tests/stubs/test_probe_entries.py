"""The probe kernel on real loaders, one test a door: the CPU state that the specification promises, and the kernel's own
integrity. What is wrong here is wrong in the probe kernel or in the loader, not in efishim.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
from efishim_firmware_stubs import probe_elf, probe_kernel

from tests.stubs.conftest import Probed
from tests.support.probe_report import ProbeReport

pytestmark = pytest.mark.qemu

Get = Callable[[str], Probed]

CR0_PE, CR0_PG = 1 << 0, 1 << 31
FLAG_TF, FLAG_IF, FLAG_DF, FLAG_VM = 1 << 8, 1 << 9, 1 << 10, 1 << 17
EFER_LMA = 1 << 10
PRESENT_CODE, PRESENT_DATA = 0x98, 0x90  # S, P and the bit that tells code from data

WAYS = {
    "qemu/linux16": "linux16",
    "qemu/pvh": "pvh",
    "qemu/multiboot": "multiboot",
    "ovmf/efi": "efi",
    "grub/linux16": "linux16",
    "grub/linux32": "linux32",
    "grub/multiboot": "multiboot",
    "grub/multiboot2": "multiboot2",
    "grub-efi/multiboot2-efi": "multiboot2-efi",
    "grub-efi/efi-handover": "efi-handover",
    "grub-efi/linux32": "linux32",
    "grub-efi/efi": "efi",
    "kexec/linux64": "linux64",
}


def flat(report: ProbeReport, register: str, kind: int) -> bool:
    """Whether a segment register's descriptor is present, of this kind, and spans 4 GiB from 0."""
    segment = report.numbers(f"cpu.{register}")
    return (segment["base"], segment["limit"], segment["attr"] & 0x98) == (0, 0xFFFFFFFF, kind)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_leads_to_the_entry_meant_and_to_power_off(probed: Get, way: str) -> None:
    probe = probed(way)
    assert probe.report.entry == WAYS[way]
    # The whole image is there: what the loader copied is what the file holds, and it cleared what it had to clear.
    elf = probe_elf()
    text = elf[: int.from_bytes(elf[64 + 32 : 64 + 40], "little")]
    assert probe.report.number("image.text_crc32") == zlib.crc32(text)
    assert not [line for line in probe.report.after if "exception" in line]


# The Linux protocols and the handover enter a copy of the file; what lies behind it is the kernel's own affair.
LOADED_BY_FORMAT = [way for way, entry in WAYS.items() if not entry.startswith("linux") and entry != "efi-handover"]


@pytest.mark.parametrize("way", LOADED_BY_FORMAT)
def test_memory_behind_the_file_is_zero_where_the_format_says_so(probed: Get, way: str) -> None:
    assert probed(way).report.number("image.bss_zero") == 1


@pytest.mark.parametrize("way", ["qemu/linux16", "grub/linux16"])
def test_real_mode(probed: Get, way: str) -> None:
    """boot.rst, "Running the Kernel"."""
    report = probed(way).report
    segments = {name: report.number(f"cpu.{name}") for name in ("cs", "ds", "es", "fs", "gs", "ss")}
    assert segments["cs"] == segments["ds"] + 0x20
    assert len({segments[name] for name in ("ds", "es", "fs", "gs", "ss")}) == 1
    assert report.number("cpu.cr0") & (CR0_PE | CR0_PG) == 0
    assert report.number("cpu.eflags") & FLAG_IF == 0
    heap_end = report.number("boot_params.hdr.heap_end_ptr") + 0x200
    assert report.number("cpu.esp") & 0xFFFF >= heap_end - 0x200
    assert report.number("boot_params.hdr.loadflags") & 0x80  # CAN_USE_HEAP, or heap_end_ptr would say nothing


@pytest.mark.parametrize("way", ["grub/linux32", "grub-efi/linux32"])
def test_32_bit(probed: Get, way: str) -> None:
    """boot.rst, "32-bit Boot Protocol"."""
    report = probed(way).report
    assert report.number("cpu.cr0") & (CR0_PE | CR0_PG) == CR0_PE
    assert report.numbers("cpu.cs")["sel"] == 0x10
    assert flat(report, "cs", PRESENT_CODE)
    for register in ("ds", "es", "ss"):
        assert report.numbers(f"cpu.{register}")["sel"] == 0x18
        assert flat(report, register, PRESENT_DATA)
    assert report.number("cpu.rflags") & FLAG_IF == 0
    assert report.number("cpu.esi") == report.number("boot_params")
    assert [report.number(f"cpu.{register}") for register in ("ebp", "edi", "ebx")] == [0, 0, 0]


def test_64_bit(probed: Get) -> None:
    """boot.rst, "64-bit Boot Protocol"."""
    report = probed("kexec/linux64").report
    assert report.number("cpu.cr0") & CR0_PG
    assert report.number("cpu.efer") & EFER_LMA
    assert report.numbers("cpu.cs")["sel"] == 0x10
    assert report.numbers("cpu.cs")["attr"] & 0x2000  # L
    for register in ("ds", "es", "ss"):
        assert report.numbers(f"cpu.{register}")["sel"] == 0x18
    assert report.number("cpu.rflags") & FLAG_IF == 0
    assert report.number("cpu.rsi") == report.number("boot_params")


def test_pvh(probed: Get) -> None:
    """docs/misc/pvh.pandoc. QEMU loads no TSS, which that document asks for."""
    report = probed("qemu/pvh").report
    assert report.number("cpu.ebx") == report.number("start_info")
    assert report.number("cpu.cr0") & (CR0_PE | CR0_PG) == CR0_PE
    assert report.number("cpu.cr4") == 0
    assert flat(report, "cs", PRESENT_CODE)
    assert all(flat(report, register, PRESENT_DATA) for register in ("ds", "es", "ss"))
    assert report.number("cpu.rflags") & (FLAG_VM | FLAG_IF | FLAG_TF) == 0


@pytest.mark.parametrize(
    ("way", "magic"),
    [("qemu/multiboot", 0x2BADB002), ("grub/multiboot", 0x2BADB002), ("grub/multiboot2", 0x36D76289)],
)
def test_multiboot(probed: Get, way: str, magic: int) -> None:
    """Multiboot 0.6.96 and 2.0, "I386 machine state"."""
    report = probed(way).report
    assert report.number("cpu.eax") == magic
    assert report.number("cpu.ebx") == report.number("multiboot2" if magic == 0x36D76289 else "multiboot")
    assert report.number("cpu.cr0") & (CR0_PE | CR0_PG) == CR0_PE
    assert flat(report, "cs", PRESENT_CODE)
    assert all(flat(report, register, PRESENT_DATA) for register in ("ds", "es", "fs", "gs", "ss"))
    assert report.number("cpu.a20") == 1
    assert report.number("cpu.rflags") & (FLAG_VM | FLAG_IF) == 0


@pytest.mark.parametrize("way", ["ovmf/efi", "grub-efi/efi"])
def test_efi_calling_state(probed: Get, way: str) -> None:
    """UEFI 2.10, 2.3.4: long mode, paging, interrupts on, direction clear, stack, floating point."""
    report = probed(way).report
    assert report.number("cpu.cr0") & (CR0_PE | CR0_PG) == CR0_PE | CR0_PG
    assert report.number("cpu.efer") & EFER_LMA
    assert report.number("cpu.rflags") & (FLAG_IF | FLAG_DF) == FLAG_IF
    assert report.numbers("cpu.cs")["sel"] & 3 == 0
    assert report.number("cpu.rsp") % 16 == 8  # aligned before the return address
    assert report.number("cpu.mxcsr") == 0x1F80
    assert report.number("cpu.fcw") == 0x37F
    assert report.number("cpu.rdx") == report.number("efi.system_table")


def test_efi_handover(probed: Get) -> None:
    """boot.rst, "EFI Handover Protocol": handle, system table and boot_params as a C function takes them."""
    report = probed("grub-efi/efi-handover").report
    assert report.number("cpu.rsi") == report.number("efi.system_table")
    assert report.number("cpu.rdx") == report.number("boot_params")
    header = probe_kernel()[0x264:0x268]
    assert report.number("boot_params.hdr.handover_offset") == int.from_bytes(header, "little")


def test_multiboot2_with_boot_services(probed: Get) -> None:
    """Multiboot 2.0, "EFI amd64 machine state with boot services enabled"."""
    report = probed("grub-efi/multiboot2-efi").report
    assert report.number("cpu.rax") & 0xFFFFFFFF == 0x36D76289
    assert report.number("cpu.rbx") & 0xFFFFFFFF == report.number("multiboot2")
    assert report.number("multiboot2.efi64_pointer") == report.number("efi.system_table")
    assert report.number("cpu.cr0") & CR0_PG
