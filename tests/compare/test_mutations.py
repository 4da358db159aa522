"""One thing changed in a run, and nothing else: the comparer names it, and names nothing else. So does `baseline check`.

The changes are made in guest memory and in the machine, by plugins (mutants.py); what must be named follows from the
specification of what was changed, never from a comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.compare import baseline
from efishim.compare.facts import Side
from efishim.compare.pair import Pair, compare
from efishim.compare.rules import Class
from efishim.lab.record import Record
from efishim.wire.acpi import Rsdp, SdtHeader
from tests.compare.mutants import changed_run, field_of, fields, flip

pytestmark = pytest.mark.unmeasured

HVMLITE, GRUB, LILO = "hvmlite/pvh", "grub/linux64", "lilo/linux16"
STRUCTURES = {
    HVMLITE: ("hvm_start_info", "hvm_modlist_entry", "hvm_memmap_table_entry"),
    GRUB: ("boot_params", "e820_table"),
    LILO: ("setup_header",),
}
RANGES = ("hvm_memmap_table_entry", "e820_table")

FOLLOWED = {
    # What a pointer or a count leads to changes with it (start_info.h; boot.rst; zero-page.rst).
    "hvm_start_info.nr_modules": ("entry.hvm_modlist_entry[",),
    "hvm_start_info.modlist_paddr": ("entry.hvm_modlist_entry[",),
    "hvm_start_info.cmdline_paddr": ("entry.command_line",),
    "hvm_start_info.memmap_paddr": ("entry.hvm_memmap_table_entry[", "entry.memory_map"),
    "hvm_start_info.memmap_entries": ("entry.hvm_memmap_table_entry[", "entry.memory_map["),
    "boot_params.e820_entries": ("entry.memory_map[",),
    "boot_params.hdr.cmd_line_ptr": ("entry.command_line",),
    "boot_params.efi_info.efi_memmap_size": ("entry.EFI_memory_map",),
    "setup_header.cmd_line_ptr": ("entry.command_line",),
}
WILD = ("boot_params.ext_cmd_line_ptr", "boot_params.hdr.setup_data")
"""Changed, they lead out of memory, where the structure cannot be listed at all."""


@cache
def unchanged(route: str) -> Record:
    """The run that the others are compared with, to the first instruction of the image."""
    return changed_run(route, until="entry")


def unexplained(pair: Pair) -> list[str]:
    """What is told differently and not explained."""
    return [one.difference.path for one in pair.of(Class.UNEXPLAINED, Side.INPUTS)]


def differs_from_baseline(record: Record, other: Record) -> bool:
    """What `baseline check` finds."""
    return any(check.diff for check in baseline.checks(baseline.text(record), other))


@cache
def cases() -> list[tuple[str, str, str]]:
    """(route, structure, field): each field of each native structure that is on the way."""
    found = [(route, *field) for route, names in STRUCTURES.items() for field in fields(route, names)]
    return [one for one in found if f"{one[1]}.{one[2]}" not in WILD]


def test_there_are_enough_of_them() -> None:
    assert len(cases()) >= 200


@pytest.mark.parametrize("route", sorted(STRUCTURES))
def test_a_rerun_differs_in_nothing(route: str) -> None:
    again = changed_run(route, until="entry")
    assert compare(unchanged(route), again).judged == ()
    assert not differs_from_baseline(unchanged(route), again)


@pytest.mark.slow
@pytest.mark.parametrize("route", sorted(STRUCTURES))
def test_each_changed_field_is_named_and_nothing_else(route: str) -> None:
    """One test for each route, as hundreds of runs of a twentieth of a second share their base."""
    wrong = []
    for _, structure, field in [case for case in cases() if case[0] == route]:
        mutant = changed_run(route, memory=field_of(route, structure, field), until="entry")
        named = unexplained(compare(unchanged(route), mutant))
        if not expected(structure, field, named):
            wrong.append(f"{structure}.{field}: {named}")
        if not differs_from_baseline(unchanged(route), mutant):
            wrong.append(f"{structure}.{field}: as its baseline")
    assert wrong == []


def expected(structure: str, field: str, named: list[str]) -> bool:
    """Is what was named the changed field, and at most what it leads to?"""
    known = f"{structure}.{field}"
    if structure.split("[", maxsplit=1)[0] in RANGES and field != "reserved":
        # A range is compared as an area: its edges or its kind.
        return 1 <= len(named) <= 2 and all(path.startswith("entry.memory_map[") for path in named)
    if known in FOLLOWED:
        return bool(named) and all(path == f"entry.{known}" or path.startswith(FOLLOWED[known]) for path in named)
    return named == [f"entry.{known}"]


def leaf_change(leaf: int, register: int) -> Callable[[Any, Any], None]:
    def change(_board: Any, facts: Any) -> None:
        values = list(facts.cpuid.leaves[leaf])
        values[register] ^= 0x10
        facts.cpuid.leaves[leaf] = tuple(values)

    return change


@cache
def machine_record() -> Record:
    return unchanged(HVMLITE)


def named_by_machine(change: Callable[[Any, Any], None]) -> list[str]:
    mutant = changed_run(HVMLITE, machine=change, until="entry")
    assert differs_from_baseline(machine_record(), mutant)
    return unexplained(compare(machine_record(), mutant))


@pytest.mark.slow
def test_each_changed_cpuid_register_is_named() -> None:
    machine = machine_record().machine
    assert machine is not None
    leaves = sorted(one.leaf for one in machine.cpuid if one.subleaf is None)
    assert len(leaves) >= 8
    for number, leaf in enumerate(leaves):
        assert named_by_machine(leaf_change(leaf, number % 4)) == [f"machine.cpuid.{leaf:#x}"]


@pytest.mark.slow
def test_each_changed_msr_is_named() -> None:
    machine = machine_record().machine
    assert machine is not None
    for one in machine.msrs:
        number, changed = int(one.number), one.value ^ 2

        def change(board: Any, _facts: Any, number: int = number, changed: int = changed) -> None:
            board.msrs.define(number, changed)

        assert named_by_machine(change) == [f"machine.msr.{one.number}"]


@pytest.mark.parametrize("offset", [36, 40, 43])
def test_a_changed_byte_of_an_acpi_table_is_named(offset: int) -> None:
    """The first table that the XSDT lists is the FADT, and these bytes are not among its pointers but for the last."""
    seen = []

    def change(board: Any, facts: Any) -> None:
        memory = board.memory
        root = Rsdp.parse(memory.read(facts.rsdp, Rsdp.SIZE)).xsdt_address
        count = (SdtHeader.parse(memory.read(root, SdtHeader.SIZE)).length - SdtHeader.SIZE) // 8
        tables = [int.from_bytes(memory.read(root + SdtHeader.SIZE + 8 * i, 8), "little") for i in range(count)]
        at = next(table for table in tables if memory.read(table, 4) == b"APIC")
        seen.append(memory.read(at, 4))
        flip(memory, at + offset)

    assert named_by_machine(change) == ["machine.acpi.APIC"]
    assert seen == [b"APIC"]


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_changed_byte_of_the_ramdisk_is_named(place: int, tmp_path: Path) -> None:
    data = bytearray(efishim_firmware_stubs.reporting_initrd())
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(data)
    data[place] ^= 1
    other.write_bytes(data)
    records = [changed_run(HVMLITE, until="entry", initrds=(str(path),)) for path in (one, other)]
    assert unexplained(compare(records[0], records[1])) == ["entry.initrd.sha256"]
    assert differs_from_baseline(*records)


def test_a_changed_command_line_is_named() -> None:
    other = changed_run(HVMLITE, until="entry", cmdline="console=ttyS1")
    assert unexplained(compare(unchanged(HVMLITE), other)) == ["entry.command_line"]
    assert differs_from_baseline(unchanged(HVMLITE), other)


@pytest.mark.parametrize(
    ("field", "later"),
    [
        # What the PVH entry does with each field (arch/x86/platform/pvh/enlighten.c); the probe kernel does the same.
        ("hvm_start_info.flags", set()),
        ("hvm_start_info.reserved", set()),
        (
            "hvm_modlist_entry[0].size",
            {"startup_64.boot_params.hdr.ramdisk_size", "startup_64.initrd.size", "startup_64.initrd.sha256"},
        ),
        # On the same plan even what code leaves behind in a register is a difference that nothing explains.
        ("hvm_modlist_entry[0].cmdline_paddr", {"startup_64.cpu.rax"}),
    ],
)
def test_what_becomes_of_a_changed_field_is_named_too(field: str, later: set[str]) -> None:
    structure, _, name = field.partition(".")
    mutant = changed_run(HVMLITE, memory=field_of(HVMLITE, structure, name), until="startup_64")
    named = set(unexplained(compare(changed_run(HVMLITE, until="startup_64"), mutant)))
    assert f"entry.{field}" in named
    assert named - {f"entry.{field}"} <= later


@pytest.mark.parametrize("entry", [0, 2, 3, 4])
def test_a_changed_memory_map_is_named_behind_the_shim(entry: int) -> None:
    """Firmware and stub may place things anew then: on the same plan, nothing of that is explained either. Entry 1 is most of
    the RAM: without it the shim has no room.
    """
    route = "hvmlite/efi"
    base = changed_run(route, until="entry")
    mutant = changed_run(route, memory=field_of(route, f"hvm_memmap_table_entry[{entry}]", "type"), until="entry")
    named = unexplained(compare(base, mutant))
    assert any(path.startswith("entry.memory_map[") for path in named)
    assert named == [one.difference.path for one in compare(base, mutant).judged]
