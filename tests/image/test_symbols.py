"""Symbols: lookups, and the three places they come from."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.errors import ImageError
from efishim.image.elf import parse_elf
from efishim.image.kallsyms import find_kallsyms
from efishim.image.pe import parse_pe
from efishim.image.symbols import (
    Symbol,
    Symbols,
    symbols_from_elf,
    symbols_from_kallsyms,
    symbols_from_pe,
    symbols_from_system_map,
)
from tests.support.images import SectionSpec, build_elf, build_kallsyms, build_kernel_elf, build_pe, linux_symbols

BASE = 0xFFFFFFFF81000000

SYSTEM_MAP = """\
0000000000000000 A fixed_percpu_data
000000000001c000 A cpu_number
ffffffff81000000 T startup_64
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000070 t helper
ffffffff81000100 T start_kernel
ffffffff81000200 t helper
ffffffff81001000 B _end
"""


def test_system_map_lookups() -> None:
    symbols = symbols_from_system_map(SYSTEM_MAP)
    assert len(symbols) == 9
    assert symbols.address_of("start_kernel") == BASE + 0x100
    assert symbols.address_of("cpu_number") == 0x1C000
    assert symbols.address_of("nothing") is None
    assert symbols.address_of("helper") == BASE + 0x70
    assert symbols.addresses_of("helper") == (BASE + 0x70, BASE + 0x200)
    assert symbols.only_address_of("start_kernel") == BASE + 0x100
    assert symbols.only_address_of("helper") is None
    assert symbols.only_address_of("nothing") is None
    assert next(iter(symbols)) == Symbol("fixed_percpu_data", 0, "A")
    assert [s.address for s in symbols] == sorted(s.address for s in symbols)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (BASE, ("startup_64", 0)),
        (BASE + 0x6F, ("startup_64", 0x6F)),
        (BASE + 0x70, ("helper", 0)),
        (BASE + 0xFFF, ("helper", 0xDFF)),
        (BASE + 0x1000, None),  # _end is the first address after the kernel
        (BASE - 1, None),
        (0x1C008, None),  # per-CPU offsets are no addresses of code
        (0, None),
        ((1 << 64) - 1, None),
    ],
)
def test_names_of_addresses(address: int, expected: tuple[str, int] | None) -> None:
    assert symbols_from_system_map(SYSTEM_MAP).name_at(address) == expected


def test_an_unordered_map_is_put_in_order() -> None:
    lines = SYSTEM_MAP.splitlines()
    symbols = symbols_from_system_map("\n".join(reversed(lines)))
    assert symbols.name_at(BASE + 0x150) == ("start_kernel", 0x50)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("not a map\n", "line 1"),
        ("ffffffff81000000 T\n", "line 1"),
        ("ffffffff81000000 T a\n1ffffffff81000000 T b\n", "line 2"),
        ("-1 T a\n", "line 1"),
        ("0 TT a\n", "line 1"),
        ("ffffffffffffffff B The real System.map is in the linux-image-6.1.0-50-amd64-dbg package\n", "placeholder"),
    ],
)
def test_what_is_no_system_map(text: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        symbols_from_system_map(text)


def symbol_row(name_at: int, value: int, *, kind: int = 2, binding: int = 1, index: int = 1) -> bytes:
    return struct.pack("<IBBHQQ", name_at, binding << 4 | kind, 0, index, value, 8)


STRINGS = b"\0_start\0table\0file.c\0outside\0"
ROWS = (
    bytes(24)
    + symbol_row(8, BASE + 0x100, kind=1, binding=0)  # table, a local object
    + symbol_row(1, BASE)  # _start
    + symbol_row(14, 0, kind=4)  # a file
    + symbol_row(21, BASE, index=0)  # undefined
    + symbol_row(0xFFFFFF, BASE + 8)  # a name outside the strings
)


def test_symbols_of_an_unstripped_file() -> None:
    sections = [(b".symtab", 2, ROWS, 2, 24), (b".strtab", 3, STRINGS, 0, 0)]
    data = build_elf([(BASE, 0x1000000, bytes(0x200), 0x200)], entry=0x1000000, sections=sections)
    symbols = symbols_from_elf(data, parse_elf(data))
    assert symbols is not None
    assert list(symbols) == [Symbol("_start", BASE, "T"), Symbol("table", BASE + 0x100, "d")]
    assert symbols.name_at(BASE + 0x1FF) == ("table", 0xFF)
    assert symbols.name_at(BASE + 0x200) is None


def test_symbols_of_a_32_bit_file() -> None:
    rows = bytes(16) + struct.pack("<IIIBBH", 1, 0x100010, 4, 0x12, 0, 1)
    sections = [(b".symtab", 2, rows, 2, 16), (b".strtab", 3, STRINGS, 0, 0)]
    data = build_elf([(0x100000, 0x100000, bytes(64), 64)], entry=0x100000, sections=sections, wide=False, machine=3)
    symbols = symbols_from_elf(data, parse_elf(data))
    assert symbols is not None
    assert symbols.address_of("_start") == 0x100010


def test_a_stripped_file_has_none() -> None:
    data = build_elf([(BASE, 0x1000000, bytes(64), 64)], entry=0x1000000)
    assert symbols_from_elf(data, parse_elf(data)) is None


def test_a_symbol_table_that_names_no_strings_is_refused() -> None:
    data = build_elf([(BASE, 0x1000000, bytes(64), 64)], entry=0x1000000, sections=[(b".symtab", 2, ROWS, 9, 24)])
    elf = parse_elf(data)
    with pytest.raises(ImageError, match="outside the file"):
        symbols_from_elf(data, elf)


@pytest.mark.slow
def test_symbols_from_kallsyms_leave_per_cpu_offsets_alone() -> None:
    data = build_kernel_elf("old")
    elf = parse_elf(data)
    table = find_kallsyms(data, elf)
    assert table is not None
    symbols = symbols_from_kallsyms(table, elf)
    assert symbols.address_of("cpu_number") == 0x1C000
    assert symbols.name_at(0x1C000) is None
    expected = dict(linux_symbols(percpu=True))["Tstart_kernel"]
    assert symbols.name_at(expected + 3) == ("start_kernel", 3)


def test_symbols_of_a_pe_kernel_are_where_it_is_linked() -> None:
    """Xen's EFI binary: offsets from ImageBase."""
    base = 0xFFFF82D040000000
    symbols = linux_symbols(1100, start=base + 0x1000)
    tables = build_kallsyms(symbols, layout="xen", place=0, base=base)
    data = build_pe([SectionSpec(b".text", 0x1000, tables, 0x20000)], image_base=base, size_of_image=0x30000)
    found = symbols_from_pe(data, parse_pe(data))
    assert found is not None
    assert [(s.kind + s.name, s.address) for s in found] == symbols
    assert found.name_at(base + 0x1000) == ("startup_64", 0)
    assert found.name_at(base) is None
    plain = build_pe([SectionSpec(b".text", 0x1000, b"\xc3", 1)])
    assert symbols_from_pe(plain, parse_pe(plain)) is None


def test_tables_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ImageError, match="2 names for 1 addresses"):
        Symbols.build(["Ta", "Tb"], [1], 0, 2)
    with pytest.raises(ImageError, match="without kind and name"):
        Symbols.build(["Ta", ""], [1, 2], 0, 3)
    with pytest.raises(ImageError, match="64 bits"):
        Symbols.build(["Ta"], [1 << 64], 0, 2)


@settings(deadline=None)
@given(
    st.lists(st.integers(0x80, 0x180), max_size=40),
    st.integers(0x70, 0x190),
    st.integers(0x70, 0x190),
    st.lists(st.integers(0x60, 0x1A0), max_size=40),
)
def test_many_addresses_at_once(places: list[int], start: int, end: int, asked: list[int]) -> None:
    symbols = Symbols.build([f"Tname_{number}" for number in range(len(places))], places, start, end)
    one_by_one = {address: symbols.name_at(address) for address in asked}
    assert symbols.names_at(asked) == {address: found for address, found in one_by_one.items() if found is not None}
