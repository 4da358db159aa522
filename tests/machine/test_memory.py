"""Guest-physical memory against a plain dictionary of bytes."""

from __future__ import annotations

import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.errors import MachineError
from efishim.machine.memory import PAGE, BusError, PhysicalMemory

TOP = 0x1_0000_0000


def two_regions() -> PhysicalMemory:
    memory = PhysicalMemory()
    memory.add(TOP, 2 * PAGE, name="high")
    memory.add(0, 2 * PAGE, name="low")
    memory.add(4 * PAGE, PAGE, name="rom", writable=False)
    return memory


def test_regions_are_in_order_and_zero() -> None:
    memory = two_regions()
    assert [(region.start, region.end, region.name) for region in memory] == [
        (0, 0x2000, "low"),
        (0x4000, 0x5000, "rom"),
        (TOP, TOP + 0x2000, "high"),
    ]
    assert memory.read(0, 2 * PAGE) == bytes(2 * PAGE)


@pytest.mark.parametrize(
    ("start", "size"), [(1, PAGE), (0, 1), (0, 0), (0, -PAGE), (-PAGE, PAGE), (1 << 52, PAGE), (0x800, PAGE)]
)
def test_regions_are_whole_pages(start: int, size: int) -> None:
    with pytest.raises(MachineError, match="whole pages"):
        PhysicalMemory().add(start, size)


@pytest.mark.parametrize(("start", "pages"), [(0, 1), (PAGE, 1), (PAGE, 2), (3 * PAGE, 2), (TOP + PAGE, 8), (0, 1 << 21)])
def test_regions_do_not_overlap(start: int, pages: int) -> None:
    with pytest.raises(MachineError, match="overlap"):
        two_regions().add(start, pages * PAGE)


@pytest.mark.parametrize(
    ("address", "size"),
    [(2 * PAGE, 1), (2 * PAGE - 1, 2), (TOP - 1, 1), (TOP + 2 * PAGE - 4, 8), (1 << 60, 1), (0, -1), (-1, 1)],
)
def test_what_is_not_there(address: int, size: int) -> None:
    memory = two_regions()
    with pytest.raises(BusError):
        memory.read(address, size)
    if size > 0:
        with pytest.raises(BusError) as caught:
            memory.write(address, bytes(size))
        assert (caught.value.address, caught.value.size) == (address, size)


def test_the_host_writes_rom() -> None:
    memory = two_regions()
    memory.write(4 * PAGE, b"BIOS")
    assert memory.read(4 * PAGE, 4) == b"BIOS"
    region = memory.find(4 * PAGE)
    assert region is not None
    assert not region.writable


def test_integers_are_little_endian() -> None:
    memory = two_regions()
    memory.write(16, bytes(range(1, 9)))
    assert (memory.u8(16), memory.u16(16), memory.u32(16)) == (1, 0x0201, 0x04030201)
    assert memory.u64(16) == 0x0807060504030201
    memory.put_u16(TOP, 0x1234)
    memory.put_u32(TOP + 2, 0x56789ABC)
    memory.put_u64(TOP + 6, 0x1122334455667788)
    assert memory.read(TOP, 14).hex() == "3412bc9a78568877665544332211"


def test_c_strings() -> None:
    memory = two_regions()
    memory.write(PAGE - 2, b"four\0")
    assert memory.c_string(PAGE - 2) == b"four"
    assert memory.c_string(PAGE - 2, limit=3) == b"fou"
    memory.fill(2 * PAGE - 3, 3, 0x41)
    assert memory.c_string(2 * PAGE - 3, limit=3) == b"AAA"
    with pytest.raises(BusError):
        memory.c_string(2 * PAGE - 3)


def test_fill_is_bounded_by_the_region() -> None:
    memory = PhysicalMemory()
    memory.add(0, 3 << 20)
    memory.fill(100, 2 << 20, 0xEE)
    assert memory.read(99, 2) == b"\0\xee"
    assert memory.read(100 + (2 << 20) - 1, 2) == b"\xee\0"
    with pytest.raises(BusError):
        memory.fill(2 << 20, 2 << 20, 1)


def test_sixteen_gibibytes_cost_nothing_until_used() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = PhysicalMemory()
    memory.add(0, 3 << 30)
    memory.add(TOP, 13 << 30)
    memory.put_u64(TOP + (13 << 30) - 8, 0x0123)
    assert memory.u64(TOP + (13 << 30) - 8) == 0x0123
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10, "KiB"


def test_more_than_the_host_can_address() -> None:
    with pytest.raises(MachineError, match="refuses"):
        PhysicalMemory().add(0, 1 << 51)


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 2 * PAGE + 8), st.binary(max_size=40)), max_size=30),
    st.integers(0, 2 * PAGE),
    st.integers(0, 99),
)
def test_against_a_dictionary(writes: list[tuple[int, bytes]], where: int, size: int) -> None:
    memory, model = two_regions(), dict.fromkeys(range(2 * PAGE), 0)
    for address, data in writes:
        fits = address + len(data) <= 2 * PAGE
        try:
            memory.write(address, data)
        except BusError:
            assert not fits
        else:
            assert fits
            model.update({address + number: byte for number, byte in enumerate(data)})
    if where + size <= 2 * PAGE:
        assert memory.read(where, size) == bytes(model[where + number] for number in range(size))


def test_what_was_discarded_reads_as_zero() -> None:
    memory = PhysicalMemory()
    memory.add(0, 0x2000)
    memory.write(0x1000, b"x")
    memory.discard()
    assert memory.read(0, 0x2000) == bytes(0x2000)


@pytest.mark.parametrize(
    ("start", "size"), [(0, 0x4000), (0x800, 0x2000), (0x1000, 0x1000), (0x1900, 0x100), (0x1FFF, 2), (0x10, 0)]
)
def test_a_range_that_is_cleared_is_zero_and_its_neighbours_stay(start: int, size: int) -> None:
    memory = PhysicalMemory()
    memory.add(0, 0x4000)
    memory.fill(0, 0x4000, 0xAA)
    memory.clear(start, size)
    assert memory.read(0, 0x4000) == b"\xaa" * start + bytes(size) + b"\xaa" * (0x4000 - start - size)
    with pytest.raises(BusError):
        memory.clear(0x3FFF, 2)
