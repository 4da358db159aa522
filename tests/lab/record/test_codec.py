"""The record: its schema, its canonical bytes, and what reading one back refuses."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.lab import record as records
from efishim.lab.record import Milestone, Reason, Record, RecordError
from tests.records import a_record
from tests.views import boot_view


def test_the_contract_of_the_record() -> None:
    """The names that the design promises to the outside."""
    document = json.loads(records.encode(a_record()))
    promised = {
        "schema",
        "tool",
        "image",
        "route",
        "options",
        "milestones",
        "outcome",
        "firmware_calls",
        "boot_view",
        "ledger",
        "coverage",
        "console",
        "reproduce",
    }
    assert promised <= document.keys()
    assert {"path", "sha256", "format", "version", "entries"} <= document["image"].keys()
    assert document["route"].keys() == {"provider", "entry", "platform"}
    assert {"name", "insns", "seconds"} <= document["milestones"][0].keys()
    assert {"reached", "reason"} <= document["outcome"].keys()
    assert {"service", "args", "status", "insns"} <= document["firmware_calls"][0].keys()


def test_milestones_are_those_of_the_design_in_their_order() -> None:
    assert [one.value for one in Milestone] == [
        "loader",
        "entry",
        "exit_boot_services",
        "startup_64",
        "start_kernel",
        "init",
        "userspace",
        "shutdown",
    ]


@pytest.mark.slow
def test_the_schema_is_valid_and_accepts_a_record() -> None:
    schema = records.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(records.encode(a_record())), schema)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("outcome", "reason"), "no such reason"),
        (("milestones", 0, "insns"), -1),
        (("milestones", 0, "name"), "nowhere"),
        (("image", "sha256"), "abc"),
        (("firmware_calls", 0, "caller", "address"), "4096"),
        (("firmware_calls", 0, "caller", "address"), 4096),
        (("firmware_calls", 0, "caller", "address"), "0x" + "f" * 33),
        (("boot_view", "cpu", "registers", "rax"), "rax"),
        (("boot_view", "cpu", "registers", "r16"), "0x1"),
        (("boot_view", "boot_params", "hdr.version"), 0x20F),
        (("boot_view", "boot_params"), []),
        (("boot_view", "initrd"), 7),
        (("boot_view", "e820"), [{"addr": "0x0"}]),
        (("console",), None),
        (("surplus",), 1),
        (("schema",), 0),
        (("schema",), records.SCHEMA + 1),
        (("outcome", "insns"), 10**400),
        (("milestones", 0, "virtual_ns"), 1 << 63),
    ],
)
def test_schema_and_decoder_refuse_the_same(path: tuple[Any, ...], value: object) -> None:
    """Two independent readers: jsonschema on the published schema, and efishim's own strict decoder."""
    document = json.loads(records.encode(a_record()))
    at = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, records.json_schema())
    with pytest.raises(RecordError) as caught:
        records.decode(json.dumps(document).encode())
    assert "\n" not in caught.value.sentence


def test_reading_back_gives_the_same_record_and_bytes() -> None:
    record = a_record()
    data = records.encode(record)
    assert records.decode(data) == record
    assert records.encode(records.decode(data)) == data


def test_bytes_do_not_depend_on_the_order_of_a_dictionary() -> None:
    one = a_record(boot_view=boot_view(params={"x": 1, "y": 2}))
    other = a_record(boot_view=boot_view(params={"y": 2, "x": 1}))
    assert records.encode(one) == records.encode(other)


def timed() -> Record:
    """A record with host times, as runs have them."""
    record = a_record()
    points = [msgspec.structs.replace(point, seconds=0.25) for point in record.milestones]
    return msgspec.structs.replace(record, milestones=points, outcome=msgspec.structs.replace(record.outcome, seconds=4.75))


def test_wall_clock_fields_are_zero_in_a_document() -> None:
    """Every field that WALL_CLOCK_FIELDS names is, every other survives."""
    document = json.loads(records.encode_timed(timed()))
    cleaned = json.loads(records.encode(timed()))
    changed = set(_differences(document, cleaned, ""))
    assert changed == set(records.WALL_CLOCK_FIELDS)
    assert records.encode(timed()) == records.encode(a_record()) == records.encode(records.without_wall_clock(timed()))


def test_host_times_survive_where_they_are_kept() -> None:
    assert records.decode(records.encode_timed(timed())) == timed()


def test_what_has_to_be_cut_is_not_kept_with_its_times() -> None:
    with pytest.raises(RecordError):
        records.encode_timed(msgspec.structs.replace(timed(), reproduce="x" * (1 << 21)))
    with pytest.raises(RecordError):
        records.encode_timed(msgspec.structs.replace(timed(), console="\udcff"))


def _differences(one: Any, other: Any, path: str) -> list[str]:
    if isinstance(one, dict):
        return [found for key in one for found in _differences(one[key], other[key], f"{path}.{key}".lstrip("."))]
    if isinstance(one, list):
        return [found for a, b in zip(one, other, strict=True) for found in _differences(a, b, f"{path}[]")]
    return [path] if one != other else []


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"schema": 1}', b'{"schema": "1"}', b"[" * 100_000, b"1e999999"],
)
def test_what_is_no_record_is_refused_in_one_sentence(data: bytes) -> None:
    with pytest.raises(RecordError) as caught:
        records.decode(data, name="x.json")
    assert caught.value.sentence.startswith("x.json")
    assert "\n" not in caught.value.sentence


def test_a_record_of_another_schema_says_so() -> None:
    document = json.loads(records.encode(a_record())) | {"schema": 99}
    for data in (b'{"schema": 99}', json.dumps(document).encode(), b'{"schema": 99, "image": 5, "more": null}'):
        with pytest.raises(RecordError) as caught:
            records.decode(data)
        assert "99" in caught.value.hint


def test_a_huge_document_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(RecordError, match="larger"):
        records.decode(b" " * (records.RECORD_LIMIT + 1))


@settings(max_examples=200)
@given(st.data())
def test_one_flipped_byte_never_gives_anything_but_a_record_or_one_sentence(data: st.DataObject) -> None:
    encoded = bytearray(records.encode(a_record()))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(records.decode(bytes(encoded)), Record)
    except RecordError as error:
        assert "\n" not in error.sentence  # noqa: PT017 both outcomes are right


def test_console_bytes_are_kept_readable_and_bounded() -> None:
    assert records.console_text(b"a\xffb\r\n") == ("a\\xffb\r\n", 0)
    text, dropped = records.console_text(b"x" * (records.CONSOLE_LIMIT + 5))
    assert (len(text), dropped) == (records.CONSOLE_LIMIT, 5)


def test_every_way_to_end_is_encodable_and_unrepeatable_ones_are_the_hosts() -> None:
    for reason in Reason:
        outcome = msgspec.structs.replace(a_record().outcome, reason=reason)
        assert json.loads(records.encode(a_record(outcome=outcome)))["outcome"]["reason"] == reason.value
    assert {Reason.TIMEOUT, Reason.INTERRUPTED} == records.UNREPEATABLE
