"""Defects put into providers: named on the same plan, and against another route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from efishim.compare.agreement import agreement
from efishim.compare.pair import Pair, compare
from efishim.compare.rules import Class
from efishim.lab.record import Record
from efishim.plugins import load_plugins
from efishim.provider import native_structures
from tests.compare.changes import CHANGES
from tests.compare.mutants import changed_run


def unexplained(pair: Pair) -> list[str]:
    return [one.difference.path for one in pair.of(Class.UNEXPLAINED)]


def test_there_are_enough_changes_of_records() -> None:
    """They are made in records of a whole kernel (test_debian.py)."""
    assert len(CHANGES) >= 60


def written(structure: str, field: str, value: int) -> Callable[..., None]:
    """The provider writes another value into its structure."""

    def change(memory: Any, handover: Any, provider: Any) -> None:
        for one in native_structures(provider, memory, handover):
            if one.name == structure and one.layout is not None:
                leaf = next(leaf for leaf in one.layout.leaves() if leaf.name == field)
                memory.write(one.address + leaf.offset, value.to_bytes(leaf.size, "little"))

    return change


PROVIDERS = [
    ("hvmlite/pvh", "hvm_start_info", "rsdp_paddr", 0),
    ("hvmlite/pvh", "hvm_start_info", "rsdp_paddr", 0x20_0000),
    ("grub/linux64", "boot_params", "hdr.type_of_loader", 0x50),
    ("grub/linux64", "boot_params", "alt_mem_k", 0x1_2345),
    ("grub/linux64", "boot_params", "screen_info.orig_video_lines", 0x99),
    ("grub/linux64", "boot_params", "screen_info.lfb_base", 0xE000_0000),
    ("subarch/linux64", "boot_params", "acpi_rsdp_addr", 0x20_0000),
]


@pytest.mark.slow
@pytest.mark.parametrize(("route", "structure", "field", "value"), PROVIDERS)
def test_a_defect_of_a_provider_is_named(route: str, structure: str, field: str, value: int) -> None:
    provider, change = load_plugins().provider(route.partition("/")[0]), written(structure, field, value)
    base = changed_run(route, until="entry")
    broken = changed_run(route, memory=lambda memory, handover: change(memory, handover, provider), until="entry")
    path = f"entry.{structure}.{field}"
    assert path in unexplained(compare(base, broken))
    against = changed_run("lilo/linux16", until="entry")
    assert path in unexplained(compare(against, broken))


def as_real(record: Record) -> Record:
    """The same record as if it came from QEMU, which does not tell its machine."""
    return structs.replace(record, route=structs.replace(record.route, platform="qemu"), machine=None)


@pytest.mark.parametrize(
    ("route", "structure", "field", "value"),
    [
        ("hvmlite/pvh", "hvm_start_info", "rsdp_paddr", 0),
        ("hvmlite/pvh", "hvm_start_info", "memmap_paddr", 0),
        ("grub/linux64", "boot_params", "screen_info.orig_video_lines", 0x99),
        ("subarch/linux64", "boot_params", "acpi_rsdp_addr", 0x20_0000),
    ],
)
def test_the_oracle_is_not_talked_past(route: str, structure: str, field: str, value: int) -> None:
    provider, change = load_plugins().provider(route.partition("/")[0]), written(structure, field, value)
    base = changed_run(route, until="entry", platform="pc-qemu")
    broken = changed_run(
        route, memory=lambda memory, handover: change(memory, handover, provider), until="entry", platform="pc-qemu"
    )
    assert agreement(base, as_real(base)).unexplained == ()
    paths = [one.difference.path for one in agreement(broken, as_real(base)).unexplained]
    assert f"entry.{structure}.{field}" in paths
