"""The e820 table: from a platform's map, from EFI's, and in its two places."""

from __future__ import annotations

import pytest
from efishim_plugins.boot_params import memory_map as e820

from efishim.provider import EfiFacts, MemoryKind, MemoryRange
from efishim.wire.bootparams import BootParams, E820Entry, SetupData
from tests.support.loaders import e820_of, efi_map

RUNTIME = 1 << 63


def facts(*regions: tuple[int, int, int, int, int], size: int = 48) -> EfiFacts:
    return EfiFacts(0x1000, efi_map(*regions, size=size), size, 1)


def test_the_numbers_are_acpis() -> None:
    kinds = [MemoryRange(kind.value * 0x1000, 0x1000, kind) for kind in MemoryKind]
    # ACPI 6.5, table 15.4
    assert [kind for _, _, kind in e820.ranges(kinds)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("kind", "expected"),
    # drivers/firmware/efi/libstub/x86-stub.c, setup_e820; UEFI 2.10 section 7.2.3 names the types
    [(0, 2), (1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 1), (8, 5), (9, 3), (10, 4), (11, 2), (14, 7), (1 << 30, 2)],
)
def test_types_of_efi(kind: int, expected: int) -> None:
    assert e820.from_efi(facts((kind, 0x1000, 0, 2, 0xF))) == [(0x1000, 0x2000, expected)]


def test_neighbours_become_one_and_all_is_ascending() -> None:
    table = e820.from_efi(facts((3, 0x3000, 0, 1, 0xF), (7, 0x1000, 0, 2, 0xF), (9, 0x4000, 0, 1, 0xF), (7, 0x6000, 0, 1, 0xF)))
    assert table == [(0x1000, 0x3000, 1), (0x4000, 0x1000, 3), (0x6000, 0x1000, 1)]


def test_half_a_descriptor_is_none() -> None:
    whole = efi_map((7, 0x1000, 0, 1, 0xF))
    assert e820.from_efi(EfiFacts(0, whole + whole[:40], 48, 1)) == [(0x1000, 0x1000, 1)]
    assert e820.from_efi(EfiFacts(0, whole, 24, 1)) == []


def test_runtime_memory() -> None:
    regions = ((7, 0x1000, 0, 1, 0xF), (6, 0x2000, 0xFFFF_8000, 1, RUNTIME | 0xF), (11, 0x8000, 0xFFFF_9000, 1, RUNTIME))
    assert e820.runtime_part(facts(*regions)) == efi_map(*regions[1:])
    assert e820.kept_ranges(facts(*regions)) == [(0x2000, 0x1000, 2), (0x8000, 0x1000, 2)]


def test_what_firmware_keeps_is_not_only_for_runtime_services() -> None:
    regions = ((4, 0x1000, 0, 1, 0xF), (9, 0x2000, 0, 2, 0xF), (10, 0x5000, 0, 1, 0xF), (0, 0x7000, 0, 1, 0xF))
    assert e820.kept_ranges(facts(*regions)) == [(0x2000, 0x2000, 3), (0x5000, 0x1000, 4), (0x7000, 0x1000, 2)]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], [(0, 0x10000, 1)]),
        ([(0x4000, 0x1000, 2)], [(0, 0x4000, 1), (0x4000, 0x1000, 2), (0x5000, 0xB000, 1)]),
        ([(0, 0x4000, 2)], [(0, 0x4000, 2), (0x4000, 0xC000, 1)]),
        ([(0xF000, 0x4000, 2)], [(0, 0xF000, 1), (0xF000, 0x4000, 2)]),
        ([(0, 0x20000, 2)], [(0, 0x20000, 2)]),
        ([(0x4000, 0x1000, 2), (0x5000, 0x1000, 2)], [(0, 0x4000, 1), (0x4000, 0x2000, 2), (0x6000, 0xA000, 1)]),
        ([(0x20000, 0x1000, 2)], [(0, 0x10000, 1), (0x20000, 0x1000, 2)]),
    ],
)
def test_overlaid(pieces: list[e820.E820], expected: list[e820.E820]) -> None:
    assert e820.overlaid([(0, 0x8000, 1), (0x8000, 0x8000, 1)], pieces) == expected


def test_128_entries_fit() -> None:
    table = [(n << 12, 0x800, 1) for n in range(128)]
    params = BootParams()
    assert e820.put_table(params, table, pytest.fail) == 0  # type: ignore[arg-type]
    assert e820_of(params) == table


def test_more_go_to_a_node_or_are_left_out() -> None:
    table = [(n << 12, 0x800, 1) for n in range(131)]
    nodes: list[tuple[int, bytes]] = []
    params = BootParams()
    assert e820.put_table(params, table, lambda kind, body: nodes.append((kind, body))) == 0
    assert e820_of(params) == table[:128]
    ((kind, body),) = nodes
    assert kind == 1  # SETUP_E820_EXT
    assert [E820Entry.parse(body[at : at + 20]).addr for at in (0, 20, 40)] == [one[0] for one in table[128:]]
    assert e820.put_table(BootParams(), table) == 3


def test_node() -> None:
    raw = e820.node(9, b"seed", 0x1234)
    head = SetupData.parse(raw)
    assert (head.next, head.type, head.len, raw[16:]) == (0x1234, 9, 4, b"seed")
