"""A difference has a reason only where its values fit."""

from __future__ import annotations

from typing import Any

import pytest

from efishim.compare.evidence import Difference
from efishim.compare.facts import fact_at
from efishim.study.claims import efi_huge, guest_shim
from efishim.study.firmware_sizes import OTHER_FIRMWARE, shim_lines, shim_sections
from efishim.study.shim_differences import REASONS, unexplained_differences
from tests.study.made import made, report


def fits(path: str, left: str, right: str) -> bool:
    """Is there a reason for it?"""
    one = Difference(fact_at(path), left, right)
    return any(reason.paths.fullmatch(path) and reason.fits(one) for reason in REASONS)


@pytest.mark.parametrize(
    ("path", "left", "right", "expected"),
    [
        ("entry.cpu.cs", "0x38 code64", "0x18 code64", True),
        ("entry.cpu.cs", "0x38 code64", "0x18 code32", False),
        ("entry.cpu.cr4", "0x668", "0x620", True),
        ("entry.cpu.cr4", "0x668", "0x600", False),
        ("entry.cpu.cr0", "0x80010033", "0x33", False),
        ("startup_64.boot_params.hdr.version", "0x20f", "0x20c", False),
        ("startup_64.boot_params.efi_info.efi_memmap_size", "0x390", "0x330", True),
    ],
)
def test_a_reason_relates_both_values(path: str, left: str, right: str, *, expected: bool) -> None:
    assert fits(path, left, right) is expected


def pair(**guest: Any) -> list[str]:
    """What is left without a reason when only `guest` differs."""
    host = made(efi_huge.EFI)
    return unexplained_differences(host, made(guest_shim.GUEST, **guest))[1]


def test_the_same_has_no_differences() -> None:
    assert pair() == []


def test_what_no_reason_speaks_of_stays_without_one() -> None:
    assert pair(console=report(command_line="other=1"))


def memory(amount: int) -> str:
    """A report of so many KiB."""
    return f"efishim-init: begin\nefishim-init: [/proc/meminfo]\n| MemTotal:  {amount} kB\nefishim-init: end\n"


@pytest.mark.parametrize(("host", "guest", "expected"), [(100, 200, True), (200, 100, False)])
def test_the_firmware_in_the_guest_leaves_more(host: int, guest: int, *, expected: bool) -> None:
    records = made(efi_huge.EFI, console=memory(host)), made(guest_shim.GUEST, console=memory(guest))
    assert (unexplained_differences(*records)[1] == []) is expected


def test_the_sizes_are_those_of_the_file() -> None:
    sizes = shim_sections()
    assert sizes[".text"] > 0
    assert sum(sizes.values()) > sizes[".text"]
    assert shim_lines() > 1000
    assert all(one.size > sizes[".text"] for one in OTHER_FIRMWARE)
