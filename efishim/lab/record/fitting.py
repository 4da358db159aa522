"""Keeps a record within its limits: what a hostile guest makes too long is cut, counted and noted.

Everything that is written can be read back. What does not fit the schema is rare (a symbol of a thousand characters,
a million firmware calls with long arguments), so it is cut after the fact and not watched for while a run goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import msgspec
from msgspec import inspect

from efishim.lab.record.values import FIELDS_LIMIT, HEX_BITS, Hex

CUT = "..."
"""Ends a text that was cut."""

LISTS = (
    *("firmware_calls", "ledger", "notes", "console"),
    *("coverage.functions", "coverage.trace", "consumed.structures", "consumed.legacy"),
)
"""Parts that may get shorter."""

COUNTED = {"firmware_calls": "firmware_calls_dropped", "ledger": "ledger_dropped", "console": "console_dropped"}
"""Who counts what is missing; of the other parts a note does."""

VIEWS = ("machine", "entry_view", "boot_view", "kernel_view")
"""Parts that are whole or not there."""

MARGIN = 0.9
"""Elements of a list differ in size: as much of the room that is left for one is filled."""


def shortened(document: dict[str, Any], size: Callable[[Any], int], limit: int) -> dict[str, Any]:
    """A record's document, as `opened` gives it, that is not larger than `limit` by `size`. The largest part is halved at
    most, until another one is.
    """
    fit: dict[str, Any] = {name: dict(part) if isinstance(part, dict) else part for name, part in document.items()}
    sizes = {part: size(_get(fit, part)) for part in (*LISTS, *VIEWS)}
    lost: dict[str, int] = {}
    too_much = size(fit) - limit
    while too_much > 0:
        part = max(sizes, key=lambda one: sizes[one])
        if not _get(fit, part):
            break  # what is left is what the user gave
        found: Any = _get(fit, part)
        less: Any = None
        missing = 1
        if part in LISTS:
            share = 1 - too_much / max(sizes[part], 1)
            kept = min(max(int(len(found) * share * MARGIN), len(found) // 2), len(found) - 1)
            missing, less = len(found) - kept, found[:kept]
        lost[part] = lost.get(part, 0) + missing
        _put(fit, part, less)
        before, sizes[part] = sizes[part], size(less)
        too_much -= before - sizes[part]
        if too_much <= 0:
            too_much = size(fit) - limit  # a part alone is indented less
    for part, name in COUNTED.items():
        fit[name] += lost.pop(part, 0)
    _tell(fit, lost)
    return fit


def clipped(document: dict[str, Any], form: type[msgspec.Struct]) -> dict[str, Any]:
    """A document, of nothing but JSON's types, with every text, list and number within the bounds of `form`."""
    lost: dict[str, int] = {}
    fit: dict[str, Any] = _Clip(lost).value(inspect.type_info(form), document, "")
    _tell(fit, lost)
    return fit


def opened(record: msgspec.Struct) -> dict[str, Any]:
    """A record as dictionaries, as deep as the parts go that may be cut."""
    document = {name: part for name, part in msgspec.structs.asdict(record).items() if part is not msgspec.UNSET}
    for name in {part.partition(".")[0] for part in LISTS if "." in part}:
        if document[name] is not None:
            document[name] = msgspec.structs.asdict(document[name])
    return document


def _tell(document: dict[str, Any], lost: dict[str, int]) -> None:
    told = ", ".join(f"{count} of {part}" for part, count in sorted(lost.items()))
    if told:
        document["notes"] = [*document["notes"][:1000], f"the record was too large, and is without: {told[:1000]}"]


def _get(document: dict[str, Any], path: str) -> Any:
    found: Any = document
    for name in path.split("."):
        found = (found or {}).get(name)
    return found


def _put(document: dict[str, Any], path: str, value: Any) -> None:
    *way, last = path.split(".")
    for name in way:
        document = document[name]
    document[last] = value


class _Clip:
    """Walks a document along its type."""

    def __init__(self, lost: dict[str, int]) -> None:
        self._lost = lost

    def value(self, form: inspect.Type, value: Any, path: str) -> Any:
        """The value within the bounds of its type."""
        if isinstance(form, inspect.Metadata):
            return self.value(form.type, value, path)
        if isinstance(form, inspect.UnionType):
            return self._union(form, value, path)
        if isinstance(form, inspect.StrType):
            return _text(value, form.max_length)
        if isinstance(form, inspect.IntType):
            return max(value if form.ge is None else form.ge, value if form.le is None else min(value, form.le))
        if isinstance(form, inspect.ListType | inspect.VarTupleType):
            return self._list(form, value, path)
        if isinstance(form, inspect.CustomType):
            return _hex(value) if form.cls is Hex else self._fields(value, path)
        if isinstance(form, inspect.DictType):
            items = value.items()
            return {self.value(form.key_type, k, path): self.value(form.value_type, v, path) for k, v in items}
        if isinstance(form, inspect.StructType):
            types = {field.encode_name: field.type for field in form.fields}
            return {k: self.value(types[k], v, f"{path}.{k}" if path else k) for k, v in value.items()}
        return value

    def _union(self, form: inspect.UnionType, value: Any, path: str) -> Any:
        """The records have unions of one type with None, and no others."""
        if value is None:
            return None
        one = next(one for one in form.types if not isinstance(one, inspect.NoneType))
        return self.value(one, value, path)

    def _fields(self, value: dict[str, str], path: str) -> dict[str, str]:
        if len(value) > FIELDS_LIMIT:
            self._lost[path] = self._lost.get(path, 0) + len(value) - FIELDS_LIMIT
        return {_text(name, None): _text(one, None) for name, one in islice(value.items(), FIELDS_LIMIT)}

    def _list(self, form: inspect.ListType | inspect.VarTupleType, value: list[Any], path: str) -> list[Any]:
        most = len(value) if form.max_length is None else form.max_length
        if len(value) > most:
            self._lost[path] = self._lost.get(path, 0) + len(value) - most
        return [self.value(form.item_type, one, path) for one in value[:most]]


def _text(value: str, most: int | None) -> str:
    text = value.encode("utf-8", "backslashreplace").decode("utf-8")
    if most is None or len(text) <= most:
        return text
    return text[: most - len(CUT)] + CUT


def _hex(value: str) -> str:
    return str(Hex(min(max(int(value, 16), 0), (1 << HEX_BITS) - 1)))
