"""Real boot loaders of Debian's packages in front of stock kernels. All loaders and both kernels with EFISHIM_FULL=1."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from efishim_plugins.grub_efi.loader import IMAGE, PREFIXES

from efishim.compare.added import rules_of
from efishim.compare.behind_loader import of_the_image
from efishim.compare.pair import compare
from efishim.compare.rules import Class
from efishim.disk.make import make_disk
from efishim.lab.record import Milestone, Reason
from efishim.plugins import load_plugins
from tests.support.control_runs import unexplained
from tests.support.kernels import DebianKernels, Flavour
from tests.support.runs import efishim_run

pytestmark = pytest.mark.kernel

FULL = os.environ.get("EFISHIM_FULL") == "1"
BOOT = "\\EFI\\BOOT\\BOOTX64.EFI"
SYSTEMD_BOOT = "systemd-boot-efi/usr/lib/systemd/boot/efi/systemd-bootx64.efi"
WHOLE = [
    Milestone.STARTUP_64,
    Milestone.START_KERNEL,
    Milestone.INIT,
    Milestone.USERSPACE,
    Milestone.SHUTDOWN,
]
ENTRIES = {
    "grub-efi:linux": "linux32",
    "grub-efi:efi": "efi",
    "shim+grub-efi:linux": "linux32",
    "systemd-boot:efi": "efi",
    "refind:efi": "efi",
    "syslinux-efi:linux": "efi-handover",
    "uki:efi": "efi",
}
"""The entry that each takes in Debian 12."""


@pytest.mark.parametrize("loader", ["systemd-boot:efi", "syslinux-efi:linux"])
def test_a_loader_starts_the_stock_kernel(cloud_kernel: Path, shared: Path, loader: str) -> None:
    done = efishim_run(shared / f"loader-{loader}", cloud_kernel, "--loader", loader, "--until", "startup_64")
    record = done.record
    assert record.outcome.met, record.console[-2000:]
    names = [point.name for point in record.milestones]
    assert names == [Milestone.LOADER, Milestone.ENTRY, Milestone.EXIT_BOOT_SERVICES, Milestone.STARTUP_64]
    assert (record.route.provider, record.route.entry) == (loader.partition(":")[0], ENTRIES[loader])
    assert record.boot_view is not None
    assert "console=ttyS0" in str(record.boot_view.command_line)
    if loader == "systemd-boot:efi":
        assert record.abi == []
    else:  # that version of SYSLINUX does not clear what it allocates for boot_params
        assert {one.rule for one in record.abi or ()} >= {"efi-handover/zero"}


IMITATIONS = {
    "systemd-boot:efi": ("-r", "firmware/efi"),
    "uki:efi": ("-r", "firmware/efi"),
    "grub-efi:efi": ("-r", "grub/efi", "--option", "grub.platform=efi", "--option", "grub.command=chainloader"),
    "grub-efi:linux": ("-r", "grub/linux32", "--option", "grub.platform=efi"),
}


@pytest.mark.parametrize("loader", IMITATIONS)
def test_an_imitation_does_what_its_original_does(cloud_kernel: Path, shared: Path, loader: str) -> None:
    """To startup_64, where boot information, calls and processor can be compared; to power-off with EFISHIM_FULL=1."""
    until = "shutdown" if FULL else "startup_64"
    name = f"loader-{loader}-{Flavour.CLOUD_6_1}" if FULL else f"loader-{loader}"
    real = efishim_run(shared / name, cloud_kernel, "--loader", loader, "--until", until).record
    ours = efishim_run(shared / f"imitation-{loader}-{until}", cloud_kernel, *IMITATIONS[loader], "--until", until).record
    pair = compare(ours, of_the_image(real), rules_of(load_plugins()))
    assert unexplained({("imitation", "original"): pair}) == []
    assert pair.of(Class.BY_DESIGN), "flags and registers of the loader at least"


def test_an_entry_with_a_wrong_path_is_what_the_loader_says(
    debian_kernel: Callable[[str], Path], cloud_kernel: Path, shared: Path, tmp_path: Path
) -> None:
    files = {
        BOOT: debian_kernel(SYSTEMD_BOOT).read_bytes(),
        "\\loader\\loader.conf": b"timeout 0\ndefault a.conf\n",
        "\\loader\\entries\\a.conf": b"title a\nlinux /nowhere\n",
    }
    disk = tmp_path / "disk.img"
    disk.write_bytes(make_disk(files))
    done = efishim_run(shared / "loader-wrong-path", cloud_kernel, "--disk", disk, "--max-insns", "300M", "--no-observers")
    record = done.record
    assert [point.name for point in record.milestones] == [Milestone.LOADER]
    assert "No loader found" in record.console, "it looks at what its entries name, and leaves this one out"
    assert any("did not start the kernel" in note for note in record.notes)


GRUB_ERRORS = {
    "linuz /vmlinuz": "can't find command `linuz'",
    "linux /nowhere": "file `/nowhere' not found",
    "linux /text": "premature end of file /text",
    "initrd /nowhere": "you need to load the kernel first",
    "chainloader /text": "cannot load image",
    "search --no-floppy --file --set=root /nowhere": "no such device: /nowhere",
    "linux (hd7,gpt9)/vmlinuz": "disk `hd7,gpt9' not found",
}
"""Lines of a configuration, and what GRUB says of each."""


def test_each_mistake_in_grubs_configuration_is_what_grub_says(
    debian_kernel: Callable[[str], Path], cloud_kernel: Path, shared: Path, tmp_path: Path
) -> None:
    config = "\n".join(["search --no-floppy --file --set=root /text", *GRUB_ERRORS, "exit", ""]).encode()
    grub = debian_kernel(f"grub-efi-amd64-bin/{IMAGE}").read_bytes()
    disk = tmp_path / "disk.img"
    disk.write_bytes(make_disk({BOOT: grub, "\\text": b"text\n", **{f"{at}\\grub.cfg": config for at in PREFIXES}}))
    done = efishim_run(shared / "grub-mistakes", cloud_kernel, "--disk", disk, "--max-insns", "1500M", "--no-observers")
    console, at = done.record.console, 0
    for line, error in GRUB_ERRORS.items():
        found = console.find(error, at)
        assert found >= 0, f"{line}: {console[at:]}"
        at = found
    assert any("did not start the kernel" in note for note in done.record.notes)


@pytest.mark.skipif(not FULL, reason="every loader with two kernels to power-off takes ten minutes: EFISHIM_FULL=1")
@pytest.mark.parametrize("flavour", [Flavour.CLOUD_6_1, Flavour.CLOUD_6_12])
@pytest.mark.parametrize("loader", ENTRIES)
def test_each_loader_boots_to_power_off(
    debian_kernels: DebianKernels, debian_kernel: Callable[[str], Path], shared: Path, loader: str, flavour: Flavour
) -> None:
    kernel = debian_kernel(debian_kernels.package(flavour))
    record = efishim_run(shared / f"loader-{loader}-{flavour}", kernel, "--loader", loader).record
    assert record.outcome.reason is Reason.SHUTDOWN
    names = [point.name for point in record.milestones]
    assert names[0] is Milestone.LOADER
    assert names[-5:] == WHOLE
    assert record.route.entry == ENTRIES[loader]


def test_each_loader_that_ships_is_tried() -> None:
    shipped = {f"{one.name}:{way.name}" for one in load_plugins().loaders.values() for way in one.ways}
    assert shipped - {"shim+grub-efi:efi"} == set(ENTRIES), "chainloader behind shim is the same GRUB's"
