"""A stock kernel behind the shim in the guest and behind the one on the host: what it was told is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.lab.record import Reason, Record
from efishim.lab.record.efi_view import EfiMemoryView
from efishim.lab.record.views import BootView
from tests.support.milestones import WITHOUT_LOADER
from tests.support.runs import Finished, efishim_run

pytestmark = pytest.mark.kernel

EFI_VA_START, EFI_VA_END = (1 << 64) - (4 << 30), (1 << 64) - (68 << 30)
"""Where Linux maps runtime services, from high to low (arch/x86/include/asm/efi.h)."""
ROUTE = ("-p", "hvmlite", "-e", "efi", "--platform", "hvmlite", "-a", "console=ttyS0")


@pytest.fixture(scope="module")
def guest(cloud_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return efishim_run(tmp_path_factory.mktemp("guest") / "run", cloud_kernel, *ROUTE, "--shim", "guest")


@pytest.fixture(scope="module")
def host(cloud_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return efishim_run(tmp_path_factory.mktemp("host") / "run", cloud_kernel, *ROUTE, "--until", "startup_64")


def view(record: Record) -> BootView:
    assert record.boot_view is not None
    return record.boot_view


def memory_map(record: Record) -> tuple[EfiMemoryView, ...]:
    efi = view(record).efi
    assert efi is not None
    assert efi.memory_map is not None
    return efi.memory_map.descriptors


def tables(record: Record) -> set[str]:
    """Configuration tables by name."""
    efi = view(record).efi
    assert efi is not None
    assert efi.system_table is not None
    return {one.name for one in efi.system_table.configuration_tables}


def test_it_reaches_userspace_and_power_off(guest: Finished) -> None:
    assert guest.status == 0, guest.stderr
    assert [point.name for point in guest.record.milestones] == WITHOUT_LOADER
    assert guest.record.outcome.reason is Reason.SHUTDOWN
    assert guest.record.abi == []
    assert "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path" in guest.record.console


def test_what_the_kernel_was_told_is_the_same(guest: Finished, host: Finished) -> None:
    ours, theirs = view(guest.record), view(host.record)
    assert ours.command_line is not None
    assert theirs.command_line is not None
    assert ours.command_line.text == theirs.command_line.text == "console=ttyS0"
    assert ours.initrd is not None
    assert theirs.initrd is not None
    assert ours.initrd.sha256 == theirs.initrd.sha256
    assert tables(guest.record) == tables(host.record)
    assert ram(guest.record) == ram(host.record)


def ram(record: Record) -> int:
    """Pages of any kind that the memory map has below 512 MiB."""
    return sum(one.number_of_pages for one in memory_map(record) if one.physical_start < 512 << 20)


def test_it_keeps_12_kib_for_good(guest: Finished, host: Finished) -> None:
    def kept(record: Record) -> int:
        return sum(one.number_of_pages << 12 for one in memory_map(record) if "RUNTIME" in one.attribute_names)

    assert kept(guest.record) == 12 << 10
    assert kept(host.record) > 1 << 20


def test_strict_rights_and_random_numbers(guest: Finished) -> None:
    """The kernel moved its own borders: without that its text could not have run."""
    answers = {(call.service, call.status) for call in guest.record.firmware_calls}
    assert ("MemoryAttribute.ClearMemoryAttributes", "EFI_SUCCESS") in answers
    assert ("RNG.GetRNG", "EFI_SUCCESS") in answers
    assert ("RuntimeServices.SetVirtualAddressMap", "EFI_SUCCESS") in answers


def test_the_machine_is_switched_off_by_the_shim_at_its_virtual_address(guest: Finished) -> None:
    """Hardware-reduced ACPI without a sleep register: the kernel calls ResetSystem, and the shim Xen (SCHEDOP_shutdown)."""
    last = guest.record.firmware_calls[-1]
    assert (last.service, last.status) == ("RuntimeServices.ResetSystem", "")
    (switch,) = (entry for entry in guest.record.ledger if entry.what == "sched_op.2")
    assert switch.code is not None
    assert EFI_VA_END <= switch.code.address < EFI_VA_START
