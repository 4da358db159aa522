"""Boots of the guest programs on QEMU; each way in is taken once for all tests that look at it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from efishim_firmware_stubs import guest_shim, kexec_initrd, probe_elf, probe_kernel, reporting_initrd

from tests.conftest import OFFLINE
from tests.support import grub, probe_report
from tests.support.probe_report import ProbeReport
from tests.support.qemu import Boot, Ending, Firmware, MissingTool, Outcome, run

CMDLINE = "console=ttyS0 some thing=other"

Runner = Callable[[Boot], Outcome]


@dataclass(frozen=True)
class Probed:
    """A boot of the probe kernel: what it said and how it ended."""

    report: ProbeReport
    outcome: Outcome


def without_header(image: bytes) -> bytes:
    """The probe kernel without the "HdrS" that QEMU looks for first, so that it finds the multiboot header."""
    return image[:0x202] + b"none" + image[0x206:]


@pytest.fixture(scope="session")
def qemu(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A function that boots something on QEMU. A missing tool fails the test, or skips it under EFISHIM_OFFLINE=1."""

    def boot(what: Boot) -> Outcome:
        with missing_tools_named():
            return run(what, tmp_path_factory.mktemp("qemu"))

    return boot


@contextmanager
def missing_tools_named() -> Iterator[None]:
    """Turns MissingTool into a failure, or a skip under EFISHIM_OFFLINE=1, with the package to install."""
    try:
        yield
    except MissingTool as error:
        if os.environ.get(OFFLINE) == "1":
            pytest.skip(str(error))
        pytest.fail(str(error))


@pytest.fixture(scope="session")
def probed(qemu: Runner, tmp_path_factory: pytest.TempPathFactory, cloud_kernel: Path) -> Callable[[str], Probed]:
    """A function from the name of a way in to what the probe kernel said there."""
    folder = tmp_path_factory.mktemp("probe")
    initrd = folder / "initrd"
    initrd.write_bytes(reporting_initrd())
    done: dict[str, Probed] = {}

    def file(name: str, data: bytes) -> Path:
        path = folder / name
        path.write_bytes(data)
        return path

    def direct(data: bytes, firmware: Firmware = Firmware.SEABIOS) -> Boot:
        return Boot(kernel=file("kernel", data), initrd=initrd, append=CMDLINE, firmware=firmware)

    def by_grub(firmware: Firmware, commands: str) -> Boot:
        files = {"probe.efi": probe_kernel(), "initrd": reporting_initrd()}
        with missing_tools_named():
            image = grub.iso(tmp_path_factory.mktemp("grub"), firmware, commands, files)
        return Boot(cdrom=image, firmware=firmware)

    def by_kexec() -> Boot:
        first = kexec_initrd(probe_kernel(), CMDLINE, reporting_initrd())
        return Boot(kernel=cloud_kernel, initrd=file("kexec", first), append="console=ttyS0 loglevel=4")

    def by_guest_shim() -> Boot:
        """QEMU gives a PVH kernel one module: the ramdisk is behind the kernel in it."""
        both = file("module", probe_kernel() + reporting_initrd())
        return Boot(kernel=file("shim", guest_shim()), initrd=both, append=CMDLINE)

    linux, module = f" /probe.efi {CMDLINE}\n", f" /probe.efi {CMDLINE}\nmodule%s /initrd first module"
    ways: dict[str, Callable[[], Boot]] = {
        "qemu/linux16": lambda: direct(probe_kernel()),
        "qemu/pvh": lambda: direct(probe_elf()),
        "qemu/multiboot": lambda: direct(without_header(probe_kernel())),
        "ovmf/efi": lambda: direct(probe_kernel(), Firmware.OVMF),
        "grub/linux16": lambda: by_grub(Firmware.SEABIOS, f"linux16{linux}initrd16 /initrd"),
        "grub/linux32": lambda: by_grub(Firmware.SEABIOS, f"linux{linux}initrd /initrd"),
        "grub/multiboot": lambda: by_grub(Firmware.SEABIOS, f"multiboot{module % ''}"),
        "grub/multiboot2": lambda: by_grub(Firmware.SEABIOS, f"multiboot2{module % '2'}"),
        "grub-efi/multiboot2-efi": lambda: by_grub(Firmware.OVMF, f"multiboot2{module % '2'}"),
        "grub-efi/efi-handover": lambda: by_grub(Firmware.OVMF, f"linuxefi{linux}initrdefi /initrd"),
        "grub-efi/linux32": lambda: by_grub(Firmware.OVMF, f"linux{linux}initrd /initrd"),
        "grub-efi/efi": lambda: by_grub(Firmware.OVMF, f"chainloader{linux}"),
        "guest-shim/efi": by_guest_shim,
        "kexec/linux64": by_kexec,
    }

    def get(way: str) -> Probed:
        if way not in done:
            outcome = qemu(ways[way]())
            assert outcome.ending is Ending.POWER_OFF, f"{outcome.ending}\n{outcome.serial[-2000:]}\n{outcome.stderr}"
            done[way] = Probed(probe_report.parse(outcome.serial), outcome)
        return done[way]

    return get
