"""One value changed in a record's document: the comparer names a difference there, for every value that tells something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec import convert, structs

from efishim.compare.facts import Side
from efishim.compare.pair import compare_facts, facts_of
from efishim.compare.rules import Class
from efishim.lab.record import Record, RecordError, decode, encode
from efishim.lab.record.values import decode_value, encode_value
from efishim.testing import run

pytestmark = pytest.mark.unmeasured

PARTS = ("machine", "entry_view", "boot_view", "kernel_view")

SAID_TWICE = re.compile(
    # The same fact stands elsewhere in the document: cr3 is the page table's address, names of types stand beside their
    # numbers, descriptors are decoded beside their value, sizes of structures are those of their layouts.
    r".*\.cpu\.control\.cr3"
    r"|.*\.(?:type|type_name|resource)"
    r"|.*\.descriptor\.(?:base|limit|attributes|kind|dpl|present)"
    r"|.*\.segments\.\w+\.(?:hidden|dpl)"
    r"|.*\.structures\.\d+\.(?:size|address)"
    r"|.*\.structures\.\d+\.text"
    r"|.*\.efi\.(?:loader_signature|memory_map\..*|system_table\..*)"
    r"|.*\.page_table\.entries\.\d+\.address"
    r"|.*\.command_line\.problem|.*\.initrd\.problem|.*\.modules\.\d+\.problem"
    # The table that is looked at is the kernel's: what lies behind a null selector or in start_kernel's registers is junk.
    r"|kernel_view\.cpu\.(?:registers\..*|control\.cr2)"
    r"|.*\.segments\.\w+\.(?:base|limit|attributes|present|problem)"
)


@pytest.fixture(scope="module")
def record() -> Record:
    return run(provider="grub", entry="linux64", until="startup_64")


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*path, key))
    elif value is not None:
        yield path, value


def other(value: Any) -> Any:
    """Another value of the same form."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value.startswith("0x"):
        return f"{int(value, 16) ^ 0x10:#x}"
    if re.fullmatch(r"[0-9a-f]+", value):
        return ("0" if value[0] != "0" else "1") + value[1:]
    return value + "x"


def document(record: Record, part: str) -> Any:
    """A part as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(getattr(record, part), enc_hook=encode_value))


def changed(record: Record, part: str, path: tuple[str | int, ...], value: Any) -> Record:
    """The same record with one value of its document changed."""
    copy = document(record, part)
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return structs.replace(record, **{part: convert(copy, get_type_hints(Record)[part], dec_hook=decode_value)})


@pytest.mark.slow
def test_every_value_that_tells_something_is_compared(record: Record) -> None:
    base = facts_of(record)
    missed, found = [], 0
    for part in PARTS:
        for path, value in leaves(document(record, part)):
            name = ".".join(map(str, (part, *path)))
            if SAID_TWICE.fullmatch(name):
                continue
            mutant = changed(record, part, path, other(value))
            pair = compare_facts(record, base, mutant, facts_of(mutant))
            if any(one.side is Side.INPUTS for one in pair.of(Class.UNEXPLAINED)):
                found += 1
            else:
                missed.append(name)
    assert missed == []
    assert found > 300


@pytest.mark.slow
def test_every_call_and_every_touch_is_compared() -> None:
    record = run(provider="hvmlite", entry="efi", until="startup_64")
    base = facts_of(record)
    for index in range(len(record.firmware_calls)):
        calls = list(record.firmware_calls)
        calls[index] = call = structs.replace(calls[index], status="EFI_ABORTED")
        mutant = structs.replace(record, firmware_calls=calls)
        pair = compare_facts(record, base, mutant, facts_of(mutant))
        assert any("EFI_ABORTED" in one.difference.path for one in pair.of(Class.UNEXPLAINED)), call
    for index in range(len(record.ledger)):
        mutant = structs.replace(record, ledger=[*record.ledger[:index], *record.ledger[index + 1 :]])
        if facts_of(mutant).behaviour == base.behaviour:
            continue  # one of several steps of the same search
        assert compare_facts(record, base, mutant, facts_of(mutant)).of(Class.UNEXPLAINED), record.ledger[index]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("value", [[], {}, {"cpu": 7}, {"cpu": {}, "e820": "x"}])
def test_views_that_are_none_end_in_a_sentence(record: Record, part: str, value: Any) -> None:
    """A file may hold anything where a view should be: a RecordError, never a traceback."""
    broken = msgspec.json.decode(encode(record)) | {part: value}
    for schema in (1, 2):
        with pytest.raises(RecordError, match=rf"is not a record: .*\$\.{part}"):
            decode(msgspec.json.encode(broken | {"schema": schema}))
