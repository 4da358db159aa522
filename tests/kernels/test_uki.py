"""A unified kernel image: systemd's stub with a stock kernel, its command line and its ramdisk in one EFI program."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.image.opened import open_image
from tests.support.milestones import WITHOUT_LOADER
from tests.support.runs import Finished, efishim_run

pytestmark = pytest.mark.kernel

STUB = "systemd-boot-efi/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
OWN = "console=ttyS0 word=of-the-image"
FIRST_FREE, STEP = 0x2_0000, 0x200_0000


@pytest.fixture(scope="session")
def uki(debian_kernel: Callable[[str], Path], cloud_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made as systemd-stub(7) says, with objcopy."""
    objcopy = shutil.which("objcopy")
    if objcopy is None:
        pytest.skip("no objcopy: apt-get install binutils")
    folder = tmp_path_factory.mktemp("uki")
    contents = {
        "cmdline": OWN.encode(),
        "linux": cloud_kernel.read_bytes(),
        "initrd": efishim_firmware_stubs.reporting_initrd(),
    }
    words = []
    for index, (name, content) in enumerate(contents.items()):
        (folder / name).write_bytes(content)
        words += ["--add-section", f".{name}={folder / name}"]
        words += ["--change-section-vma", f".{name}={FIRST_FREE + index * STEP:#x}"]
    subprocess.run([objcopy, *words, str(debian_kernel(STUB)), str(folder / "uki.efi")], check=True, timeout=60)
    return folder / "uki.efi"


def test_the_kernel_inside_is_found(uki: Path, cloud_kernel: Path) -> None:
    inside, alone = (open_image(path.read_bytes(), path=str(path)).kernel for path in (uki, cloud_kernel))
    assert inside.entry_code == alone.entry_code
    assert inside.symbols == alone.symbols


def test_it_brings_its_own_command_line_and_ramdisk(uki: Path, shared: Path) -> None:
    run: Finished = efishim_run(shared / "uki", uki)
    assert run.status == 0, run.stderr
    assert [point.name for point in run.record.milestones] == WITHOUT_LOADER
    assert run.init["/proc/cmdline"].lines == [OWN]
    services = [call.service.removeprefix("BootServices.") for call in run.record.firmware_calls]
    way = ("LoadImage", "InstallMultipleProtocolInterfaces", "StartImage", "ExitBootServices")
    assert [one for one in services if one in way] == list(way), "systemd's stub offers the ramdisk and starts the kernel's"
    assert run.record.abi == []
