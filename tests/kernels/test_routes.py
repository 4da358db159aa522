"""Every route of every provider takes real kernels to userspace and power-off, or says why it does not apply.

All routes of the registry with Debian's 6.1 kernel for clouds; of the other kernels a few, and all with EFISHIM_FULL=1.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from efishim_firmware_stubs import reporting_initrd
from efishim_firmware_stubs.cpio import Entry as Member
from efishim_firmware_stubs.cpio import archive

from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import Image, open_image
from efishim.lab.kernel_log import GRAVE, findings
from efishim.lab.record import Milestone, Reason, Record
from efishim.plugins import load_plugins
from tests.support.kernels import DebianKernels, Flavour
from tests.support.milestones import WITHOUT_LOADER
from tests.support.runs import Finished, efishim_run

pytestmark = pytest.mark.kernel

FULL = os.environ.get("EFISHIM_FULL") == "1"
ROUTES = {
    f"{provider.name}/{entry.name}": (provider, entry)
    for provider in load_plugins().providers.values()
    for entry in provider.entries
}

CMDLINE = "console=ttyS0"
PROGRAM = "import sys; from efishim.cli import main; sys.exit(main())"
SOME = {
    # of the kernels that are not tried on every route, those routes whose entries differ in code of the kernel
    Flavour.CLOUD_6_12: ("grub/linux32", "kexec/linux64", "lilo/linux16", "hvmlite/pvh", "hvmlite/efi", "firmware/efi-mixed"),
    Flavour.GENERIC_6_1: ("grub/linux32", "hvmlite/efi"),
    Flavour.GENERIC_6_12: ("hvmlite/pvh", "firmware/efi-handover"),
    Flavour.RT_6_1: (),
}


def cases() -> list[object]:
    """(kernel, route): all routes with the first kernel, and the others' share."""
    wanted = [(Flavour.CLOUD_6_1, route) for route in ROUTES]
    wanted += [(kernel, route) for kernel in SOME for route in ROUTES if FULL or route in SOME[kernel]]
    return [pytest.param(kernel, route, id=f"{kernel}-{route}") for kernel, route in wanted]


Fetch = Callable[[Flavour], Path]


@pytest.fixture(scope="session")
def fetch(debian_kernels: DebianKernels, debian_kernel: Callable[[str], Path]) -> Fetch:
    """A kernel by its flavour."""
    return lambda flavour: debian_kernel(debian_kernels.package(flavour))


def opened(path: Path) -> Image:
    """The image, headers only."""
    return open_image(path.read_bytes(), path=str(path), cache=KernelCache(cache_directory(os.environ)))


def arguments(route: str, *more: str | Path) -> list[str | Path]:
    """What `efishim run` is told behind the kernel."""
    provider, entry = ROUTES[route]
    return ["-p", provider.name, "-e", entry.name, "-a", CMDLINE, *more]


def check_whole(run: Finished) -> Record:
    """Userspace was there, the machine went off, and nothing went wrong on the way."""
    assert run.status == 0, run.stderr
    record = run.record
    assert record.outcome.reason is Reason.SHUTDOWN
    names = [point.name for point in record.milestones]
    expected = [name for name in WITHOUT_LOADER if name is not Milestone.EXIT_BOOT_SERVICES or name in names]
    assert names == expected
    assert run.init["/proc/cmdline"].lines[0].split()[-len(CMDLINE.split()) :] == CMDLINE.split()
    assert [finding.text for finding in findings(record.console) if finding.kind in GRAVE] == []
    assert not record.abi, [one.sentence for one in record.abi]
    return record


BOTH, FIRST = "both", "the first"
RAMDISKS = {
    # what reaches the kernel of two ramdisks, and the words of the provider's limits that say so
    "firmware/efi": (BOTH, "Several ramdisks are concatenated"),
    "firmware/efi-handover": (BOTH, "Several ramdisks are concatenated"),
    "firmware/efi-mixed": (BOTH, "Several ramdisks are concatenated"),
    "grub/linux32": (BOTH, "Several ramdisks become one"),
    "grub/linux64": (BOTH, "Several ramdisks become one"),
    "grub/efi": (BOTH, "Several ramdisks become one"),
    "grub/efi-handover": (BOTH, "Several ramdisks become one"),
    "hvmlite/pvh": (FIRST, "Linux uses the first module as its initial ramdisk and ignores the others"),
    "hvmlite/efi": (BOTH, "the shim concatenates them"),
    "kexec/linux64": (FIRST, "of several, only the first is used"),
    "lilo/linux16": (FIRST, "of several, only the first is used"),
    "multiboot/efi": (BOTH, "Modules"),
    "multiboot2/efi": (BOTH, "Modules"),
    "subarch/linux64": (BOTH, "Several ramdisks become one"),
}


@pytest.fixture(scope="session")
def two_ramdisks(tmp_path_factory: pytest.TempPathFactory) -> tuple[str | Path, ...]:
    """`-i a -i b`: the second archive has one file, which userspace finds in its root directory or not. With the default
    ramdisk tests/compare/test_debian.py takes the same routes.
    """
    folder = tmp_path_factory.mktemp("ramdisks")
    (folder / "a").write_bytes(reporting_initrd())
    (folder / "b").write_bytes(archive([Member.file("second", b"12345")]))
    return "-i", folder / "a", "-i", folder / "b"


@pytest.mark.parametrize(("kernel", "route"), cases())
def test_a_route_reaches_power_off_or_says_why_it_does_not_apply(
    kernel: Flavour, route: str, fetch: Fetch, shared: Path, two_ramdisks: tuple[str | Path, ...]
) -> None:
    image, (provider, entry) = fetch(kernel), ROUTES[route]
    more = two_ramdisks if kernel is Flavour.CLOUD_6_1 else ()
    run = efishim_run(shared / f"{kernel}-{route.replace('/', '-')}", image, *arguments(route, *more))
    door = next(door for door in opened(image).doors if door.entry == entry.name)
    if not door.applies:
        assert run.status == 77
        assert door.reason in run.stderr
        assert not (run.folder / "run.json").exists()
        assert not more or route not in RAMDISKS
        return
    record = check_whole(run)
    assert (record.route.provider, record.route.entry, record.route.platform) == (provider.name, entry.name, "pc")
    if more:
        check_ramdisks(run, route)


def check_ramdisks(run: Finished, route: str) -> None:
    """Both came to userspace, or the first alone, as the provider's limits say."""
    expected, words = RAMDISKS[route]
    provider, record = ROUTES[route][0], run.record
    assert any(words in limit for limit in provider.limits), (
        f"{provider.name} does not document what becomes of the second ramdisk"
    )
    found = any(line.startswith("second size=5") for line in run.init["/"].lines)
    assert found == (expected is BOTH)
    assert len(record.options.initrds) == 2
    if expected is FIRST:
        assert any("ramdisk" in note or "module" in note for note in record.notes), (
            "the record does not say that one was dropped"
        )


@pytest.mark.parametrize("kernel", [Flavour.CLOUD_6_1, Flavour.CLOUD_6_12])
def test_inspect_prints_the_matrix(kernel: Flavour, fetch: Fetch) -> None:
    """Each route of the registry once, with the reason for which it does not apply."""

    def inspect(*more: str) -> str:
        command = [sys.executable, "-c", PROGRAM, "inspect", str(fetch(kernel)), *more]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"COLUMNS": "200"}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    rows = {row["route"]: row for row in json.loads(inspect("--format", "json"))["routes"]}
    assert set(rows) == set(ROUTES)
    image = opened(fetch(kernel))
    for route, (_, entry) in ROUTES.items():
        door = next(door for door in image.doors if door.entry == entry.name)
        assert rows[route]["applies"] == door.applies
        assert bool(rows[route]["reason"]) != door.applies
    text = inspect()
    for route, row in rows.items():
        line = next(line for line in text.splitlines() if line.split()[:1] == [route])
        assert line.split()[1] == ("yes" if row["applies"] else "no")
        assert row["reason"] in line


PLATFORMS = [
    ("hvmlite", "pvh", "1"),
    ("hvmlite", "pvh", "0"),
    ("hvmlite", "efi", "1"),
    ("hvmlite", "efi", "0"),
    ("kvm", "pvh", "1"),
    ("kvm", "efi", "1"),
]
XEN, KVM = "Hypervisor detected: Xen HVM", "Hypervisor detected: KVM"


@pytest.mark.parametrize("kernel", [Flavour.CLOUD_6_1, *(SOME if FULL else ())])
@pytest.mark.parametrize(("platform", "entry", "version"), PLATFORMS)
def test_start_info_on_the_machines_of_hypervisors(
    platform: str, entry: str, version: str, kernel: Flavour, fetch: Fetch, shared: Path
) -> None:
    """The same structure through the native entry and through the shim, where a hypervisor answers CPUID."""
    more = ("--platform", platform, "--option", f"hvmlite.version={version}")
    folder = shared / f"{kernel}-{platform}-{entry}-{version}"
    run = efishim_run(folder, fetch(kernel), *arguments(f"hvmlite/{entry}", *more))
    record = check_whole(run)
    assert (XEN if platform == "hvmlite" else KVM) in record.console
    asked = [note for note in record.notes if "XENMEM_memory_map" in note]
    # Version 0 has no memory map: the shim asks the hypervisor for it, a kernel entered natively does so itself.
    assert bool(asked) == (entry == "efi" and version == "0")


def test_version_0_needs_a_hypervisor_that_knows_the_memory_map(cloud_kernel: Path, shared: Path) -> None:
    more = ("--option", "hvmlite.version=0")
    run = efishim_run(shared / "nobody-to-ask", cloud_kernel, *arguments("hvmlite/efi", *more))
    assert run.status == 3
    assert "memory map" in run.stderr
