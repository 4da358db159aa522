"""Numbers that JSON has in hexadecimal, and fields under the names of a layout."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.lab.record import Fields, Hex, decode, encode
from efishim.lab.record.values import decode_value, encode_value, schema_of
from tests.records import a_record
from tests.views import boot_view


@given(st.integers(0, (1 << 128) - 1))
def test_a_number_comes_back(number: int) -> None:
    assert decode_value(Hex, encode_value(Hex(number))) == number
    assert encode_value(Hex(number)) == f"{Hex(number)}" == f"{number:#x}"


@pytest.mark.parametrize("text", ["", "0x", "1", "0X1", "0x1 ", "0x1\n", "0xg", "-0x1", "0x1_0", "0x" + "1" * 33, 1, None, 1.0])
def test_what_is_no_number_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="hexadecimal"):
        decode_value(Hex, text)


@given(st.dictionaries(st.text(max_size=8), st.integers(0, (1 << 64) - 1) | st.text(max_size=8), max_size=5))
def test_fields_come_back(values: dict[str, int | str]) -> None:
    fields = Fields.of(values)
    assert decode_value(Fields, {name: str(value) for name, value in fields.items()}) == fields
    assert all(fields[name] == value for name, value in values.items() if isinstance(value, int))


def test_a_magic_number_that_reads_as_a_number_is_one() -> None:
    """A guest may write the letters 0x12 where a magic number belongs: JSON cannot tell that from a number."""
    record = a_record(boot_view=boot_view(params={"hdr.header": "0x12", "hdr.version": 0x12, "other": "0x1z"}))
    assert decode(encode(record)) == record
    assert record.boot_view is not None
    assert record.boot_view.boot_params == {"hdr.header": 0x12, "hdr.version": 0x12, "other": "0x1z"}


@pytest.mark.parametrize("value", [None, [], "x", {"a": 1}, {"a": None}, {f"{n}": "" for n in range(5000)}])
def test_what_are_no_fields_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="Expected"):
        decode_value(Fields, value)


def test_a_missing_field_and_text_are_no_number() -> None:
    fields = Fields.of({"a": "text", "b": 5})
    assert (fields.number("a"), fields.number("b"), fields.number("c")) == (0, 5, 0)


def test_they_travel_between_processes() -> None:
    record = a_record()
    copy = pickle.loads(pickle.dumps(record))
    assert copy == record
    assert type(copy.boot_view.address) is Hex
    assert type(copy.boot_view.boot_params) is Fields


def test_nothing_else_is_a_part_of_a_record() -> None:
    with pytest.raises(NotImplementedError, match="complex"):
        encode_value(1j)
    for hook in (schema_of, lambda kind: decode_value(kind, 1)):
        with pytest.raises(NotImplementedError, match="complex"):
            hook(complex)
