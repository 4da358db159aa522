"""Records that do not fit their own schema: they are written all the same, and can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from efishim.lab import record as records
from efishim.lab.record import (
    Argument,
    CodeRef,
    E820View,
    FirmwareCall,
    Hex,
    LedgerEntry,
    LedgerKind,
    MachineArea,
    Record,
    codec,
    decode,
    encode,
)
from efishim.lab.record.values import FIELDS_LIMIT
from tests.records import a_record
from tests.views import boot_view, machine_view

replace = msgspec.structs.replace
LONG = "x" * 5000
RANGE = E820View(Hex(0), Hex(1), Hex(1), "RAM")


def call(value: str = "0x0") -> FirmwareCall:
    return FirmwareCall(service="GetTime", args=[Argument(name="Time", value=value)], status="EFI_SUCCESS", insns=1)


def touch(what: str) -> LedgerEntry:
    return LedgerEntry(kind=LedgerKind.INSTRUCTION, what=what)


def with_coverage(record: Record, **parts: Any) -> Record:
    return replace(record, coverage=replace(record.coverage, **parts))


TOO_MUCH: dict[str, Callable[[Record], Record]] = {
    "name of a thing": lambda record: replace(record, ledger=[touch(LONG)]),
    "name of a function": lambda record: with_coverage(
        record, functions=[records.FunctionCoverage(name=LONG, part="kernel", blocks=1)]
    ),
    "place in the trace": lambda record: with_coverage(record, trace=[LONG]),
    "argument": lambda record: replace(record, firmware_calls=[call("a" * ((1 << 20) + 1))]),
    "arguments": lambda record: replace(record, firmware_calls=[replace(call(), args=call().args * 40)]),
    "trace": lambda record: with_coverage(record, trace=["f"] * ((1 << 16) + 5)),
    "notes": lambda record: replace(record, notes=["n"] * 2000),
    "number": lambda record: replace(record, outcome=replace(record.outcome, insns=10**400)),
    "negative number": lambda record: replace(record, console_dropped=-1),
    "address": lambda record: replace(record, boot_view=replace(boot_view(), address=Hex(1 << 400))),
    "negative address": lambda record: replace(record, boot_view=replace(boot_view(), address=Hex(-1))),
    "fields": lambda record: replace(record, boot_view=boot_view(params={f"f{n}": n for n in range(FIELDS_LIMIT + 1)})),
    "ranges": lambda record: replace(record, boot_view=replace(boot_view(), e820=(RANGE,) * 2000)),
    "half a character": lambda record: replace(record, console="\udc80", boot_view=boot_view(params={"\udc81": "\udc82"})),
    "symbol": lambda record: replace(
        record, outcome=replace(record.outcome, at=CodeRef(address=Hex(1), symbol="s" * ((1 << 20) + 1)))
    ),
}


@pytest.mark.parametrize("spoil", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_the_schema_refuses_is_cut(spoil: Callable[[Record], Record]) -> None:
    good = a_record()
    data = encode(spoil(good))
    read = decode(data)
    assert read.image == good.image
    assert read.reproduce == good.reproduce
    assert encode(read) == data


def test_what_is_cut_is_said() -> None:
    record = decode(encode(replace(a_record(), notes=["n"] * 2000, ledger=[touch(LONG)])))
    assert record.ledger[0].what == "x" * 253 + "..."
    assert record.notes[-1] == "the record was too large, and is without: 976 of notes"


def test_a_record_that_is_too_large_keeps_what_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "RECORD_LIMIT", 1 << 20)
    calls = [call("c" * 1000)] * 2000
    machine = replace(machine_view(), memory_map=(MachineArea(Hex(0), Hex(1), "RAM"),) * 30_000)
    record = replace(a_record(), firmware_calls=calls, firmware_calls_dropped=5, machine=machine)
    data = encode(record)
    assert (1 << 19) < len(data) <= 1 << 20
    read = decode(data)
    assert read.machine is None
    assert read.notes[-1].endswith("1 of machine")
    assert 500 < len(read.firmware_calls) < 1000
    assert read.firmware_calls_dropped == 5 + 2000 - len(read.firmware_calls)


@pytest.mark.parametrize("part", ["console", "one note"])
def test_a_record_of_one_large_text_fits(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    monkeypatch.setattr(codec, "RECORD_LIMIT", 1 << 19)
    large = "y" * (1 << 20)
    record = replace(a_record(), console=large) if part == "console" else replace(a_record(), notes=[large])
    data = encode(record)
    assert len(data) <= 1 << 19
    decode(data)


def test_what_fits_is_left_alone() -> None:
    record = a_record()
    assert decode(encode(record)) == record
