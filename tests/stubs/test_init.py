"""The reporting init under stock kernels on QEMU."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from efishim_firmware_stubs import build, reporting_init, reporting_initrd
from efishim_firmware_stubs.cpio import Entry, archive

from tests.stubs.conftest import Runner
from tests.support import init_report
from tests.support.init_report import Section
from tests.support.kernels import I386_6_1
from tests.support.qemu import Boot, Ending, Firmware

pytestmark = [pytest.mark.qemu, pytest.mark.kernel]

ENOENT = 2
STAMPED = re.compile(r"\[ *\d+\.\d+\] ?(.*)")
Boots = Callable[..., tuple[dict[str, Section], str]]


@dataclass(frozen=True)
class System:
    """A kernel, and whether it is of 64 bits."""

    kernel: Path
    wide: bool


@pytest.fixture(params=["x86-64", "i386"])
def system(request: pytest.FixtureRequest, debian_kernel: Callable[[str], Path]) -> System:
    """Debian's 6.1 kernels: the one for clouds, and the 686 one of the installer."""
    if request.param == "i386":
        return System(debian_kernel(I386_6_1), wide=False)
    return System(request.getfixturevalue("cloud_kernel"), wide=True)


@pytest.fixture(scope="module")
def once(qemu: Runner, tmp_path_factory: pytest.TempPathFactory) -> Callable[[System, str, Firmware, bytes], str]:
    """A function that boots a kernel with a ramdisk, each pair once: the console."""

    @cache
    def boot(system: System, append: str, firmware: Firmware, initrd: bytes) -> str:
        path = tmp_path_factory.mktemp("init") / "initrd"
        path.write_bytes(initrd)
        outcome = qemu(Boot(kernel=system.kernel, initrd=path, append=append, firmware=firmware))
        assert outcome.ending is Ending.POWER_OFF, outcome.serial[-2000:]
        return outcome.serial

    return boot


@pytest.fixture
def booted(once: Callable[[System, str, Firmware, bytes], str], system: System) -> Boots:
    """A function that boots the kernel with a ramdisk: the init's report, and the whole console."""

    def boot(append: str, *, firmware: Firmware = Firmware.SEABIOS, initrd: bytes = b"") -> tuple[dict[str, Section], str]:
        serial = once(system, append, firmware, initrd or reporting_initrd(system.wide))
        return init_report.parse(serial), serial

    return boot


def sections(source: str) -> list[tuple[str, str]]:
    """(routine, path) of each section in a table of the program's source."""
    text = (build.ROOT / source).read_text()
    paths = dict(re.findall(r'^(path_\w+)\s+db "(.+)", 0$', (build.ROOT / "init/texts.inc").read_text(), re.MULTILINE))
    return [(routine, paths[path]) for routine, path in re.findall(r"^ +d[dq] +([a-z_]+), (path_\w+)$", text, re.MULTILINE)]


def test_both_programs_report_the_same_sections() -> None:
    told = sections("init/init.elf.asm")
    assert ("busy_lines", "/proc/interrupts") in told
    assert sections("init/init32.elf.asm") == told


@pytest.mark.parametrize("system", ["x86-64"], indirect=True)
def test_on_ovmf(booted: Boots) -> None:
    report, _console = booted("console=ttyS0 loglevel=7", firmware=Firmware.OVMF)
    assert report["/proc/cmdline"].lines[0].startswith("console=ttyS0 loglevel=7")
    assert report["/proc/version"].lines[0].startswith("Linux version 6.1.")
    assert report["/sys/firmware/efi"].error == 0
    assert report["/sys/firmware/efi/fw_platform_size"].lines == ["64"]
    assert any(line.startswith("ACPI20=0x") for line in report["/sys/firmware/efi/systab"].lines)
    runtime = report["/sys/firmware/efi/runtime-map"].lines
    types = {int(line.split("type=0x")[1].split()[0], 16) for line in runtime}
    assert {5, 6} <= types  # EfiRuntimeServicesCode and EfiRuntimeServicesData
    assert all(" virt_addr=0xffffff" in line for line in runtime)  # below -4 GiB, where Linux puts them
    assert any("DSDT size=" in line for line in report["/sys/firmware/acpi/tables"].lines)
    assert any(line.endswith(": System RAM") for line in report["/proc/iomem"].lines)
    assert report["/proc/meminfo"].lines[0].startswith("MemTotal:")
    assert report["/proc/sys/kernel/tainted"].lines == ["0"]


def test_without_efi_the_report_says_so(booted: Boots) -> None:
    report, _console = booted("console=ttyS0 quiet one=two three")
    assert report["/sys/firmware/efi"].error == ENOENT
    assert report["argv"].lines == ["/init", "three"]
    assert "one=two" in report["envp"].lines
    assert report["/proc/consoles"].lines[0].startswith("ttyS0")
    assert report["/sys/kernel/boot_params/version"].lines == ["0x020f"]
    assert list(report) == ["argv", "envp", *(path for _routine, path in sections("init/init.elf.asm")), "warnings"]


def test_what_would_differ_between_two_equal_boots_is_left_out(booted: Boots) -> None:
    report, _console = booted("console=ttyS0 quiet one=two three")
    (memory,) = report["/proc/meminfo"].lines
    assert memory.startswith("MemTotal:")
    heading, *interrupts = report["/proc/interrupts"].lines
    assert heading.split() == ["CPU0"]
    assert all(int(line.split()[1]) for line in interrupts)
    assert "LOC:" in {line.split()[0] for line in interrupts}


def test_what_the_user_added_to_the_ramdisk_is_listed(booted: Boots, system: System) -> None:
    extra = archive([Entry.file("mine", b"x" * 1234), Entry.directory("folder")])
    report, _console = booted("console=ttyS0", initrd=reporting_initrd(system.wide) + extra)
    root = report["/"].lines
    assert {"mine size=1234", "folder/", f"init size={len(reporting_init(system.wide))}"} <= set(root)


def test_warnings_are_those_that_the_kernel_prints_at_that_level_without_their_time(booted: Boots) -> None:
    report, console = booted("console=ttyS0 loglevel=5")
    printed = [match[1] for line in console.partition("efishim-init: begin")[0].split("\n") if (match := STAMPED.match(line))]
    told = report["warnings"].lines
    assert printed
    assert [line[4:] for line in told] == printed
    assert {line[:4] for line in told} <= {"<0> ", "<1> ", "<2> ", "<3> ", "<4> "}


def test_without_a_serial_console_the_report_still_comes_over_the_first_port(booted: Boots) -> None:
    report, _console = booted("quiet")
    assert report["/proc/cmdline"].lines == ["quiet"]


@pytest.mark.slow
def test_every_stock_kernel_runs_it(qemu: Runner, stock_kernel: Path, tmp_path: Path) -> None:
    path = tmp_path / "initrd"
    path.write_bytes(reporting_initrd())
    outcome = qemu(Boot(kernel=stock_kernel, initrd=path, append="console=ttyS0 loglevel=7", firmware=Firmware.OVMF))
    report = init_report.parse(outcome.serial)
    assert report["/sys/firmware/efi/fw_platform_size"].lines == ["64"]
    assert outcome.ending is Ending.POWER_OFF
    assert "reboot: Power down" in outcome.serial  # the kernel's last word is not lost with the quiet console
