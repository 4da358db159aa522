"""Accesses become fields: who read what first, what was copied whole, and what nobody ever read."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.consumption import consumption, drawn_together
from efishim.lab.record import Consumption
from efishim.lab.snapshot.structures import Target, leaves_of
from efishim.machine.access_observer import Access
from efishim.provider import Structure
from efishim.wire.bootparams import BootParams, SetupData
from efishim.wire.start_info import HvmMemmapTableEntry, HvmStartInfo

BASE = 0x5100
COPIER, READER, OTHER = 0x1000, 0x2000, 0x3000


class Named(AddressNames):
    """Each 4 KiB of code are one function."""

    def function(self, address: int, insns: int | None = None) -> tuple[str, int] | None:
        name = {COPIER: "copy", READER: "read", OTHER: "other"}.get(address & ~0xFFF)
        return None if name is None else (name, address & 0xFFF)


PLACES = Named()


def access(offset: int, size: int, code: int = READER, *, write: bool = False, count: int = 1, first: int = 10) -> Access:
    return Access(BASE + offset, size, write, code, code, BASE + offset, count, first, first + count)


def copy(length: int, step: int, *, code: int = COPIER, times: int = 1, write: bool = False) -> list[Access]:
    """A loop of one instruction over everything."""
    return [access(at, step, code, count=times, first=at, write=write) for at in range(0, length, step)]


def start_info(accesses: Iterable[Access]) -> Consumption:
    target = Target.of(Structure("hvm_start_info", BASE, HvmStartInfo.SIZE, HvmStartInfo), since=5)
    (one,) = consumption([target], list(accesses), PLACES)
    return one


def test_nothing_was_touched() -> None:
    one = start_info([])
    assert (one.structure, one.address, one.size) == ("hvm_start_info", 0x5100, 56)
    assert (one.reads, one.writes, one.bytes_read, one.since_insns) == (0, 0, 0, 5)
    assert one.fields == []
    assert one.whole == []
    assert one.never_read == [leaf.name for leaf in HvmStartInfo.leaves()]


def test_one_field() -> None:
    one = start_info([access(0, 4, READER + 0x12, count=3, first=77)])
    (field,) = one.fields
    assert (field.name, field.reads, field.writes, field.first_insns) == ("magic", 3, 0, 77)
    assert (field.first.address, field.first.symbol) == (0x2012, "read+0x12")
    assert field.functions == ["read"]
    assert "magic" not in one.never_read
    assert "version" in one.never_read
    assert (one.reads, one.bytes_read) == (3, 4)


def test_written_is_not_read() -> None:
    one = start_info([access(0, 4, write=True, count=2)])
    assert [(field.name, field.reads, field.writes) for field in one.fields] == [("magic", 0, 2)]
    assert "magic" in one.never_read
    assert (one.reads, one.writes, one.bytes_read) == (0, 2, 0)


def test_the_first_of_several_comes_first() -> None:
    one = start_info([access(32, 8, READER, first=50), access(32, 8, OTHER, first=20), access(36, 1, READER + 4, first=60)])
    (field,) = one.fields
    assert (field.name, field.reads, field.first_insns, field.first.symbol) == ("rsdp_paddr", 3, 20, "other+0x0")
    assert sorted(field.functions) == ["other", "read"]


def test_an_access_across_fields_touches_both() -> None:
    one = start_info([access(2, 4)])
    assert [field.name for field in one.fields] == ["magic", "version"]


def test_accesses_that_begin_before_or_end_behind() -> None:
    one = start_info([access(-4, 8), access(52, 8), access(-8, 8), access(56, 8)])
    assert [field.name for field in one.fields] == ["magic", "reserved"]
    assert (one.reads, one.bytes_read) == (2, 8)


def test_a_copy_is_one_thing_and_not_every_field() -> None:
    one = start_info([*copy(56, 8, times=2), access(8, 4)])
    assert [(whole.function, whole.write, whole.times, whole.part) for whole in one.whole] == [("copy", False, 2, "")]
    assert [field.name for field in one.fields] == ["flags"]
    assert "magic" in one.never_read
    assert "flags" not in one.never_read
    assert one.bytes_read == 56


def test_an_erasure_is_one_thing() -> None:
    one = start_info(copy(56, 1, write=True))
    assert [(whole.function, whole.write) for whole in one.whole] == [("copy", True)]
    assert one.fields == []


def test_a_copy_of_all_but_a_byte_is_no_copy() -> None:
    one = start_info(copy(55, 1))
    assert one.whole == []
    assert [field.name for field in one.fields] == [leaf.name for leaf in HvmStartInfo.leaves()]


def test_reading_all_fields_one_by_one_is_no_copy() -> None:
    """As init_pvh_bootparams() would, if it read `reserved`, too: four instructions for four fields."""
    target = Target.of(Structure("hvm_memmap_table_entry[0]", BASE, 24, HvmMemmapTableEntry))
    reads = [access(leaf.offset, leaf.size, READER + leaf.offset) for leaf in HvmMemmapTableEntry.leaves()]
    (one,) = consumption([target], reads, PLACES)
    assert one.whole == []
    assert [field.name for field in one.fields] == ["addr", "size", "type", "reserved"]
    assert one.never_read == []


def test_a_member_copied_whole() -> None:
    """screen_info = boot_params.screen_info, as setup_arch() does."""
    target = Target("boot_params", BASE, BootParams.SIZE, leaves_of(BootParams, BootParams.SIZE))
    (one,) = consumption([target], [*copy(0x40, 4), access(0x1E8, 1)], PLACES)
    assert [(whole.part, whole.function) for whole in one.whole] == [("screen_info", "copy")]
    assert [field.name for field in one.fields] == ["e820_entries"]
    assert not [name for name in one.never_read if name.startswith("screen_info")]
    assert "hdr.type_of_loader" in one.never_read


def test_padding_is_no_field_that_somebody_forgot() -> None:
    target = Target("boot_params", BASE, BootParams.SIZE, leaves_of(BootParams, BootParams.SIZE))
    (one,) = consumption([target], [], PLACES)
    assert not [name for name in one.never_read if name.startswith("_")]
    assert "edd_mbr_sig_buffer[0..15]" in one.never_read


def test_plain_bytes_have_no_fields() -> None:
    (one,) = consumption([Target("command line", BASE, 20)], copy(20, 1), PLACES)
    assert (one.reads, one.bytes_read, one.fields, one.whole, one.never_read) == (20, 20, [], [], [])


def test_two_structures_in_one_page_and_one_in_another() -> None:
    targets = [
        Target("a", BASE, 16, leaves_of(SetupData, 16)),
        Target("b", BASE + 16, 16, leaves_of(SetupData, 16)),
        Target("all", BASE, 32),
        Target("far", BASE + 0x10000, 16, leaves_of(SetupData, 16)),
        Target("across", BASE + 0xEF8, 16, leaves_of(SetupData, 16)),
    ]
    found = consumption(targets, [access(0, 8), access(24, 4), access(0xEF8, 8), access(0xF00, 4)], PLACES)
    assert [[field.name for field in one.fields] for one in found] == [["next"], ["type"], [], [], ["next", "type"]]
    assert found[2].reads == 2


def test_a_layout_longer_than_the_structure() -> None:
    assert [leaf.name for leaf in leaves_of(HvmStartInfo, 40)] == [leaf.name for leaf in HvmStartInfo.leaves()][:7]
    assert leaves_of(None, 40) == ()


def test_code_without_symbols_is_named_by_its_address() -> None:
    one = start_info([access(0, 4, 0x9000)])
    assert one.fields[0].functions == ["0x9000"]
    assert one.fields[0].first.symbol is None


def test_many_functions_are_cut() -> None:
    one = start_info([access(0, 4, 0x10_0000 + number) for number in range(20)])
    assert one.fields[0].reads == 20
    assert len(one.fields[0].functions) == 8


@pytest.mark.slow
@given(
    st.lists(
        st.builds(access, st.integers(-8, 60), st.sampled_from([1, 2, 4, 8]), st.sampled_from([COPIER, READER])), max_size=30
    )
)
def test_read_or_never_read(accesses: list[Access]) -> None:
    """Every field is a field that was read, part of a whole, or one that nobody read."""
    one = start_info(accesses)
    read = {field.name for field in one.fields if field.reads}
    every = [leaf.name for leaf in HvmStartInfo.leaves()]
    assert read.isdisjoint(one.never_read)
    assert [name for name in every if name not in read] == one.never_read
    covered = {byte for a in accesses for byte in range(a.address - BASE, a.address - BASE + a.size) if 0 <= byte < 56}
    assert one.bytes_read == len(covered)


@pytest.mark.parametrize(
    ("some", "everything", "expected"),
    [
        ([], [], []),
        (["a", "b"], ["a", "b"], ["a", "b"]),
        (["t[0].x", "t[0].y"], ["t[0].x", "t[0].y"], ["t[0]"]),
        (["t[1]", "t[2]", "t[3]"], ["t[0]", "t[1]", "t[2]", "t[3]"], ["t[1..3]"]),
        (["t[0].x", "t[1].x", "t[1].y"], ["t[0].x", "t[0].y", "t[1].x", "t[1].y"], ["t[0].x", "t[1]"]),
        (["t[0]", "t[2]", "a", "t[3]"], ["t[0]", "t[1]", "t[2]", "a", "t[3]"], ["t[0]", "t[2]", "a", "t[3]"]),
        (["s[0]", "t[1]"], ["s[0]", "t[0]", "t[1]"], ["s[0]", "t[1]"]),
    ],
)
def test_runs_of_elements(some: list[str], everything: list[str], expected: list[str]) -> None:
    assert drawn_together(some, everything) == expected
