"""The canonical encoder, the strict decoder and the JSON Schema of the record, from one declaration."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec

from efishim.canonical import canonical
from efishim.errors import EfishimError
from efishim.lab.record import schema1
from efishim.lab.record.document import CONSOLE_LIMIT, SCHEMA, Record
from efishim.lab.record.fitting import clipped, opened, shortened
from efishim.lab.record.values import decode_value, encode_value, schema_of
from efishim.reading import read_file

RECORD_LIMIT = 64 << 20
"""Largest document (bytes) that is written or read. A full run to userspace stays under 3 MB."""


class RecordError(EfishimError):
    """A file that should hold a record does not."""

    exit_status = 4


class _Head(msgspec.Struct):
    """What is looked at before the rest: fields of another schema may have other types."""

    schema: int = SCHEMA


_ENCODER = msgspec.json.Encoder(order="sorted", enc_hook=encode_value)
_DECODER = msgspec.json.Decoder(Record, dec_hook=decode_value)
_HEAD = msgspec.json.Decoder(_Head)


def console_text(data: bytes) -> tuple[str, int]:
    """Guest console bytes as a record keeps them: the first CONSOLE_LIMIT as text, and how many were dropped."""
    return data[:CONSOLE_LIMIT].decode("utf-8", "backslashreplace"), max(0, len(data) - CONSOLE_LIMIT)


def encode(record: Record) -> bytes:
    """The canonical bytes: keys sorted, two spaces of indentation, one newline at the end, and 0 for host time, so that two
    runs of one plan have the same. `decode` reads them back: what does not fit into the schema or RECORD_LIMIT is cut, and
    said.
    """
    record = without_wall_clock(record)
    for cut in (lambda: record, lambda: _shortened(opened(record))):
        with suppress(RecordError, UnicodeEncodeError, OverflowError):
            data = canonical(cut(), encode_value)
            decode(data)
            return data
    return canonical(_shortened(clipped(msgspec.to_builtins(record, enc_hook=encode_value), Record)), encode_value)


def _shortened(document: dict[str, Any]) -> dict[str, Any]:
    return shortened(document, lambda part: len(canonical(part, encode_value)), RECORD_LIMIT)


def encode_timed(record: Record) -> bytes:
    """A record that fits, in a form that is not for people and keeps the host time. Raises RecordError when it does not fit."""
    try:
        data = _ENCODER.encode(record)
    except (UnicodeEncodeError, OverflowError) as error:
        raise RecordError("the record does not fit into its schema") from error
    decode(data)
    return data


def read_record(path: str) -> Record:
    """The record in a file. Raises RecordError with one sentence."""
    return decode(read_file(path, RECORD_LIMIT, "record", RecordError), name=path)


def decode(data: bytes, *, name: str = "the record") -> Record:
    """Read a record of this schema or of an older one back, strictly. Raises RecordError; `name` is what its sentence calls
    the file.
    """
    if len(data) > RECORD_LIMIT:
        raise RecordError(f"{name} is larger than {RECORD_LIMIT >> 20} MiB, which no record is")
    try:
        number = _HEAD.decode(data).schema
        if number == schema1.SCHEMA:
            return msgspec.convert(schema1.upgraded(msgspec.json.decode(data)), Record, dec_hook=decode_value)
        if number != SCHEMA:
            hint = f"it has schema {number}, this efishim reads schemas {schema1.SCHEMA} to {SCHEMA}"
            raise RecordError(f"{name} is not a record that this efishim reads", hint=hint)
        return _DECODER.decode(data)
    except msgspec.ValidationError as error:
        raise RecordError(f"{name} is not a record: {error}") from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{name} is not JSON: {error}") from error


def without_wall_clock(record: Record) -> Record:
    """The same record with every field of WALL_CLOCK_FIELDS set to zero."""
    replace = msgspec.structs.replace
    return replace(
        record,
        milestones=[replace(point, seconds=0.0) for point in record.milestones],
        outcome=replace(record.outcome, seconds=0.0),
    )


def json_schema() -> dict[str, Any]:
    """The record as JSON Schema (draft 2020-12)."""
    schema = msgspec.json.schema(Record, schema_hook=schema_of)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"efishim record, schema {SCHEMA}",
        **schema,
    }
