"""Records of schema 1: one that was written before schema 2 was there, and what only looks like one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.lab.record import SCHEMA, CpuidLeaf, Hex, Record, RecordError, decode, encode, schema1, without_wall_clock
from tests import schema1 as undo
from tests.records import a_record

FILE = Path(__file__).with_name("schema1.json")
"""The embedded probe kernel as GRUB starts it through its 64-bit entry, to startup_64."""


@pytest.fixture(scope="module")
def before() -> bytes:
    return FILE.read_bytes()


@pytest.fixture(scope="module")
def record(before: bytes) -> Record:
    return decode(before)


def test_it_is_read_as_a_record_of_today(before: bytes, record: Record) -> None:
    assert json.loads(before)["schema"] == 1
    assert record.schema == SCHEMA
    assert decode(encode(record)) == without_wall_clock(record)


def test_all_that_it_says_is_kept(before: bytes, record: Record) -> None:
    """The way back is another program's, and gives the same bytes."""
    assert undo.canonical(undo.undone(json.loads(encode(record)))) == undo.canonical(
        undo.without_wall_clock(json.loads(before))
    )


def test_numbers_are_numbers(record: Record) -> None:
    assert record.boot_view is not None
    assert record.boot_view.cpu.registers.rsi == record.boot_view.address
    assert record.boot_view.boot_params["hdr.header"] == "HdrS"
    assert record.boot_view.boot_params["hdr.version"] == 0x20F
    assert sum(one.size for one in record.boot_view.e820 if one.type_name == "RAM") > 400 << 20


def test_cpuid_and_msrs_are_lists_by_number(record: Record) -> None:
    assert record.machine is not None
    plain = [one for one in record.machine.cpuid if one.subleaf is None]
    rest = [one for one in record.machine.cpuid if one.subleaf is not None]
    assert list(record.machine.cpuid) == [*plain, *rest]
    assert [one.leaf for one in plain] == sorted(one.leaf for one in plain)
    assert [(one.leaf, one.subleaf) for one in rest] == sorted((one.leaf, one.subleaf or 0) for one in rest)
    assert plain[0] == CpuidLeaf(
        leaf=Hex(0), eax=plain[0].eax, ebx=Hex(0x756E6547), ecx=Hex(0x6C65746E), edx=Hex(0x49656E69)
    )  # GenuineIntel
    assert {Hex(0x277)} < {one.number for one in record.machine.msrs}


@pytest.mark.parametrize(
    "machine",
    [
        7,
        [],
        {"cpuid": {"0x0": "0x1 0x2 0x3"}},
        {"cpuid": {"0x0": 5}},
        {"cpuid": {"x": "a b c d"}},
        {"msrs": {"x": 1}},
        {"msrs": 3},
    ],
)
def test_what_only_looks_like_it_is_refused(before: bytes, machine: Any) -> None:
    document = json.loads(before)
    document["machine"] = document["machine"] | machine if isinstance(machine, dict) else machine
    with pytest.raises(RecordError, match=r"is not a record: .*\$\.machine"):
        decode(json.dumps(document).encode())


def test_schema_2_under_the_number_1_is_refused_or_the_same() -> None:
    """Nothing of it is guessed at: lists stay lists."""
    document = json.loads(encode(a_record())) | {"schema": 1}
    assert decode(json.dumps(document).encode()) == a_record()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["cpuid", "msrs", "0x1", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(JSON)
def test_the_upgrade_raises_for_nothing(value: Any) -> None:
    for document in (value, {"schema": 1, "machine": value}):
        schema1.upgraded(msgspec.json.decode(msgspec.json.encode(document)))
