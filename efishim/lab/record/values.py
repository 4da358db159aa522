"""Value types of a record: hexadecimal numbers, fields by the names of a layout, limits.

A JSON reader that keeps numbers as binary64 loses bits above 2**53 (RFC 8259, section 6), and addresses and registers have
64. So they are ints here and hexadecimal strings in JSON; the three hooks below do that for encoder, decoder and schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self, TypeAlias

import msgspec

HEX_BITS = 128
HEX_PATTERN = r"^0x[0-9a-f]{1,32}$"
_HEX = re.compile(HEX_PATTERN[:-1] + r"\Z")

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Sha256OrEmpty = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?$")]
"""Empty where there was nothing to hash; a `problem` beside it says why."""
Digits = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]*$", max_length=1 << 20)]
"""Bytes in hexadecimal, two digits each."""
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Signed = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Seed = Annotated[int, msgspec.Meta(ge=0)]
"""Up to 2**64 - 1, which msgspec cannot check."""
Seconds = Annotated[float, msgspec.Meta(ge=0)]
Name = Annotated[str, msgspec.Meta(max_length=256)]
Text = Annotated[str, msgspec.Meta(max_length=1 << 20)]

FIELDS_LIMIT = 1 << 12
"""Most fields of one structure; struct boot_params has 185."""


class Hex(int):
    """A number that may need all of its bits: an address, the value of a register or of a field. JSON has it as "0x1f"."""

    __slots__ = ()

    def __str__(self) -> str:
        """As a record writes it."""
        return f"{int(self):#x}"

    __repr__ = __str__


FieldValue: TypeAlias = Hex | str
"""A number, or the text of a magic number, or bytes as hexadecimal digits without a prefix."""


class Fields(dict[str, FieldValue]):
    """The values of a structure by the full names of its fields (`hdr.cmd_line_ptr`), which the declarations in efishim/wire
    give: an open set. Byte arrays lose their trailing zeroes, so an empty text means all zero.
    """

    @classmethod
    def of(cls, values: Mapping[str, int | str]) -> Self:
        """From what a layout says of its fields. A text that reads as a number is one: JSON cannot tell them apart."""
        return cls((name, field_value(value)) for name, value in values.items())

    def number(self, name: str) -> int:
        """The value of a field that is a number; 0 where there is no such field or it is text."""
        value = self.get(name)
        return value if isinstance(value, Hex) else 0


def field_value(value: int | str) -> FieldValue:
    """The value of one field."""
    if isinstance(value, str):
        return Hex(int(value, 16)) if _HEX.match(value) else value
    return Hex(value)


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all parts of a record have in common: they do not change, and have the declared fields only."""


def hexadecimal(value: int) -> str:
    """An address or register value as a record writes it."""
    return f"{value:#x}"


def encode_value(value: Any) -> str:
    """For the encoder: what JSON has no type for. Raises NotImplementedError for anything that is no part of a record."""
    if isinstance(value, Hex):
        return str(value)
    raise NotImplementedError(f"a record has no {type(value).__name__}")


def decode_value(kind: type, value: Any) -> Any:
    """For the strict decoder. Raises ValueError, which the decoder turns into a sentence with the path."""
    if kind is Hex:
        if not isinstance(value, str) or not _HEX.match(value):
            raise ValueError("Expected a hexadecimal number as text, `0x1f`")
        return Hex(int(value, 16))
    if kind is Fields:
        return _decode_fields(value)
    raise NotImplementedError(f"a record has no {kind.__name__}")


def _decode_fields(value: Any) -> Fields:
    if not isinstance(value, dict) or len(value) > FIELDS_LIMIT:
        raise ValueError(f"Expected an object with at most {FIELDS_LIMIT} fields")
    if not all(isinstance(one, str) for one in value.values()):
        raise ValueError("Expected a text or a hexadecimal number as text in every field")
    return Fields.of(value)


def schema_of(kind: type) -> dict[str, Any]:
    """For the JSON Schema. Raises NotImplementedError for anything that is no part of a record."""
    if kind is Hex:
        return {"type": "string", "pattern": HEX_PATTERN}
    if kind is Fields:
        return {"type": "object", "maxProperties": FIELDS_LIMIT, "additionalProperties": {"type": "string"}}
    raise NotImplementedError(f"a record has no {kind.__name__}")
