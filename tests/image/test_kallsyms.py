"""kallsyms: tables written by an independent packer, in every order that kernels have had."""

from __future__ import annotations

import struct
import time

import pytest

from efishim.errors import ImageError
from efishim.image.elf import parse_elf
from efishim.image.kallsyms import DIGITS, Kallsyms, find_kallsyms
from tests.support.images import build_elf, build_kallsyms, build_kernel_elf, linux_symbols, pack_names

LAYOUTS = ["old", "seqs", "new", "place-relative", "absolute"]


def found_in(elf: bytes) -> Kallsyms:
    table = find_kallsyms(elf, parse_elf(elf))
    assert table is not None
    return table


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("percpu", [True, False])
def test_every_layout_is_read(layout: str, percpu: bool) -> None:
    percpu = percpu and layout in {"old", "seqs", "new"}
    table = found_in(build_kernel_elf(layout, percpu=percpu))
    expected = linux_symbols(percpu=percpu)
    assert list(zip(table.all_names(), table.addresses(), strict=True)) == expected
    assert [table.address(index) for index in range(table.count)] == [address for _, address in expected]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1019, 1020, 1021, 1276, 1277, 4000])
def test_counts_around_whole_markers(count: int) -> None:
    """256 names to a marker: the last marker may be followed by 1 to 256 names."""
    table = found_in(build_kernel_elf("new", percpu=False, count=count))
    assert table.count == len(linux_symbols(count))
    assert table.all_names()[-1] == "B_end"


@pytest.mark.slow
def test_some_names_are_found_without_unpacking_all() -> None:
    symbols = linux_symbols(percpu=True)
    table = found_in(build_kernel_elf("new"))
    wanted = {name[1:]: address for name, address in symbols}
    assert table.find(wanted) == wanted
    assert table.find(["start_kerne", "tart_kernel", "start_kernel_", "nothing", "", "späße", "a\nb"]) == {}
    assert table.find(["start_kernel"]) == {"start_kernel": dict(symbols)["Tstart_kernel"]}


@pytest.mark.slow
def test_long_names_have_two_length_bytes() -> None:
    _, packed = pack_names([name for name, _ in linux_symbols()])
    assert max(map(len, packed)) > 0x7F, "the test image no longer holds such a name"
    table = found_in(build_kernel_elf("new", percpu=False))
    long_name = next(name for name, _ in linux_symbols() if len(name) > 200)
    assert long_name in table.all_names()
    assert long_name[1:] in table.find([long_name[1:]])


def test_a_name_inside_another_is_not_taken_for_it() -> None:
    """The packed form of a name may occur in the middle of another; only starts of names count."""
    symbols = [(f"Tfiller_{n}_0123456789", 0xFFFFFFFF81000000 + 16 * n) for n in range(1100)]
    symbols += [("tq\x08Ttarget", 0xFFFFFFFF81100000), ("Ttarget", 0xFFFFFFFF81100010)]
    image = kernel_with(build_kallsyms(symbols, layout="new", place=0, base=0xFFFFFFFF81000000))
    assert found_in(image).find(["target"]) == {"target": 0xFFFFFFFF81100010}


def kernel_with(tables: bytes, *, before: bytes = b"") -> bytes:
    content = before + b"\0" * (-len(before) % 64) + tables
    return build_elf([(0xFFFFFFFF81000000, 0x1000000, content, 0x2000000)], entry=0x1000000)


@pytest.mark.slow
def test_a_base_left_to_a_relocation_is_the_start_of_the_text() -> None:
    symbols = linux_symbols()
    base = 0xFFFFFFFF81000000
    tables = build_kallsyms(symbols, layout="new", place=0, base=base)
    assert tables.count(struct.pack("<Q", base)) == 1
    image = kernel_with(tables.replace(struct.pack("<Q", base), bytes(8)))
    assert found_in(image).addresses() == [address for _, address in symbols]


@pytest.mark.parametrize("count", [1100, 1101])
def test_xen_counts_from_its_link_address(count: int) -> None:
    """As in the file that Multiboot loads: 32-bit headers, addresses that are offsets from 0."""
    symbols = linux_symbols(count, start=0x200000)
    tables = build_kallsyms(symbols, layout="xen", place=0, base=0)
    image = build_elf([(0x200000, 0x200000, b"\x90" * 64 + tables, 0x200000)], entry=0x200000, wide=False, machine=3)
    table = found_in(image)
    assert table.scheme == "origin"
    assert list(zip(table.all_names(), table.addresses(), strict=True)) == symbols


def test_there_may_be_none() -> None:
    image = build_elf([(0xFFFFFFFF81000000, 0x1000000, b"\x90" * 4096 + DIGITS + bytes(8192), 0x4000)], entry=0x1000000)
    assert find_kallsyms(image, parse_elf(image)) is None
    assert find_kallsyms(b"", parse_elf(image)) is None


@pytest.mark.slow
def test_a_part_that_ends_in_the_tables_has_none_yet() -> None:
    image = build_kernel_elf("new")
    elf = parse_elf(image)
    end = image.rindex(struct.pack("<Q", 0xFFFFFFFF81000000))  # relative_base, behind the offsets
    for size in range(0, end, 3001):
        assert find_kallsyms(bytearray(image[:size]), elf) is None
    assert find_kallsyms(bytearray(image[: end + 8]), elf) is not None


@pytest.mark.slow
def test_damaged_names_are_an_image_error() -> None:
    table = found_in(build_kernel_elf("new"))
    data = bytearray(table.data)
    # A length inside the table that runs over its end: the first and the last 256 names are checked, this is between.
    data[table.names + table.markers[2]] = 0xFF
    data[table.names + table.markers[2] + 1] = 0xFF
    damaged = found_in(bytes(data))
    with pytest.raises(ImageError, match="damaged"):
        damaged.all_names()


@pytest.mark.parametrize(
    "filling",
    [
        DIGITS * 200_000,
        (DIGITS + bytes(4)) * 100_000,
        build_kallsyms(linux_symbols(1100), layout="old", place=0, base=0xFFFFFFFF81000000)[:-512] * 40,
        bytes(4 << 20) + build_kallsyms(linux_symbols(1100), layout="new", place=0, base=0xFFFFFFFF81000000)[9000:],
    ],
    ids=["digits", "digits and zeroes", "tables without index", "zeroes before tokens"],
)
def test_hostile_fillings_cost_little(filling: bytes) -> None:
    image = kernel_with(filling)
    started = time.process_time()
    find_kallsyms(image, parse_elf(image))
    assert time.process_time() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize("cut", range(1, 8))
def test_tables_at_an_odd_place_are_no_defect(cut: int) -> None:
    """A file whose length, or whose tables' place, is no multiple of a word: found or not, but never a ValueError."""
    image = build_kernel_elf("new")
    elf = parse_elf(image)
    at = image.index(DIGITS)
    find_kallsyms(image[:-cut], elf)
    find_kallsyms(image[:at] + bytes(cut) + image[at:], elf)
    find_kallsyms(image[cut:], elf)
