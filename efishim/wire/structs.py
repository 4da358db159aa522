"""construct's side of a layout, imported when first something is parsed or built: readers of fields, leaves of a Struct."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import construct as cs


class _Letters(cs.FormatField):
    """A number of four bytes whose leaf has the form `text`."""

    def __init__(self) -> None:
        cs.FormatField.__init__(self, "<", "L")


class _Array(cs.Bytes):
    """Bytes of a fixed count; a shorter value is stored with zeroes behind it."""

    def __init__(self, size: int) -> None:
        cs.Bytes.__init__(self, size)

    def _build(self, obj: bytes, stream: Any, context: Any, path: str) -> Any:
        return cs.Bytes._build(self, obj.ljust(self.length, b"\0"), stream, context, path)


class _Unlisted(_Array):
    """Bytes of which `leaves` says nothing."""


class _Value(cs.Adapter):
    """Between construct's container and an object of the class that was declared."""

    def __init__(self, struct: Any, layout: type[Any]) -> None:
        cs.Adapter.__init__(self, struct)
        self.layout = layout
        self.names = [sub.name for sub in struct.subcons]

    def _decode(self, obj: Any, context: Any, path: str) -> Any:
        value = object.__new__(self.layout)
        vars(value).update((name, obj[name]) for name in self.names)
        return value

    def _encode(self, obj: Any, context: Any, path: str) -> Any:
        return vars(obj)


_NUMBERS = {size: cs.FormatField("<", letter) for size, letter in ((1, "B"), (2, "H"), (4, "L"), (8, "Q"))}
_BE32 = cs.FormatField(">", "L")
_TEXT32 = _Letters()


def number(size: int) -> Any:
    """A little-endian number of 1, 2, 4 or 8 bytes."""
    return _NUMBERS[size]


def be32() -> Any:
    """A big-endian number of four bytes."""
    return _BE32


def text32() -> Any:
    """A magic number of four letters."""
    return _TEXT32


def array(size: int) -> Any:
    """Bytes."""
    return _Array(size)


def unlisted(size: int) -> Any:
    """Bytes that are no leaf."""
    return _Unlisted(size)


def many(count: int, reader: Any) -> Any:
    """So many of one kind."""
    return cs.Array(count, reader)


def value(layout: type[Any], fields: Sequence[tuple[str, int, Any]], size: int) -> Any:
    """A structure of `size` bytes, `fields` with name, offset and reader, as an object of the class.

    The bytes between the fields are parts too. Their names begin with a plus sign, so that they are none that a field can have.
    """
    rows: list[Any] = []
    at = 0
    for name, start, reader in fields:
        rows += [*_between(at, start), name / reader]
        at = start + reader.sizeof()
    return _Value(cs.Struct(*rows, *_between(at, size)), layout)


def _between(start: int, end: int) -> list[Any]:
    return [f"+{start:#x}" / cs.Default(_Unlisted(end - start), bytes(end - start))] if start < end else []


def build(reader: Any, what: object) -> bytes:
    """The bytes. Raises ValueError for a value that does not fit its field, which the text names."""
    try:
        return cast(bytes, reader.build(what))
    except cs.ConstructError as error:
        place = ".".join([type(what).__name__, *(error.path or "").split(" -> ")[1:]])
        raise ValueError(f"{place}: {str(error).rpartition(chr(10))[2]}") from error


def leaves(reader: Any, name: str = "", at: int = 0) -> Iterator[tuple[str, int, int, str]]:
    """Name, offset, size and form of all below a reader that lies at `at` and has this name."""
    if isinstance(reader, _Value):
        struct: Any = reader.subcon
        for sub in struct.subcons:
            own = sub.name.rstrip("_")
            yield from leaves(sub.subcon, f"{name}.{own}" if name else own, at)
            at += sub.sizeof()
    elif isinstance(reader, cs.Array):
        for index in range(reader.count):
            yield from leaves(reader.subcon, f"{name}[{index}]", at + index * reader.subcon.sizeof())
    elif isinstance(reader, cs.FormatField):
        form = "text" if isinstance(reader, _Letters) else "big-endian" if reader is _BE32 else "number"
        yield name, at, reader.length, form
    elif isinstance(reader, _Array) and not isinstance(reader, _Unlisted):
        yield name, at, reader.length, "bytes"
