"""Structures declared over a construct.Struct: parsing, building, and mapping bytes to fields.

A declaration is a class whose fields stand at the offsets that the specification prints:

    class SetupData(Layout):
        SIZE = 16

        next: int = u64(0)
        type: int = u32(8)
        len: int = u32(12)

Structures of UEFI have no printed offsets. Their fields come without, lie where a C compiler puts them, and have one form
for each width of a pointer. Numbers are little-endian, as x86 is; `be32` is for what came from elsewhere.

A specification may use a name twice, or one that Python or this class has: the attribute ends in an underscore then, and its
leaf is called what the specification calls it.

Why construct, and what it costs: docs/adr/0014-layouts-over-construct.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeVar, cast, dataclass_transform

Buffer = bytes | bytearray | memoryview

WIDTHS = (4, 8)
"""Bytes of a pointer: IA-32 and x64."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field with no structure below it, under its full name (`hdr.setup_sects`, `eddbuf[3].device`).

    `offset` is in bytes from the start of the outermost structure. `form` is `number`, `big-endian` (a number too),
    `text` (a magic number that people write as letters) or `bytes`.
    """

    name: str
    offset: int
    size: int
    form: str

    def show(self, data: Buffer, base: int = 0) -> int | str:
        """The value as records carry it: numbers as int, magics as text, byte arrays as hex.

        Byte arrays lose their trailing zeroes (the layout fixes their length); so an empty text means all zero.
        A magic that is not printable ASCII is shown as `0x` and its number in hex.
        """
        raw = bytes(data[base + self.offset : base + self.offset + self.size])
        if self.form == "number":
            return int.from_bytes(raw, "little")
        if self.form == "big-endian":
            return int.from_bytes(raw, "big")
        if self.form == "bytes":
            return raw.rstrip(b"\0").hex()
        if not any(raw):
            return ""
        if all(0x20 < byte < 0x7F for byte in raw):
            return raw.decode("ascii")
        return f"{int.from_bytes(raw, 'little'):#x}"


class _Field(NamedTuple):
    """What a declaration says of a field: how `structs` makes a reader of it for a width of pointers, its place, its bytes,
    and its value at first.

    `size` and `align` (the boundary that C gives the type) are 0 where they are those of a pointer.
    """

    reader: Callable[[ModuleType, int], Any]
    offset: int | None
    size: int
    align: int
    initial: Callable[[], object]


def u8(offset: int | None = None) -> int:
    """One byte."""
    return cast(int, _Field(lambda make, _: make.number(1), offset, 1, 1, int))


def u16(offset: int | None = None) -> int:
    """Two bytes."""
    return cast(int, _Field(lambda make, _: make.number(2), offset, 2, 2, int))


def u32(offset: int | None = None) -> int:
    """Four bytes."""
    return cast(int, _Field(lambda make, _: make.number(4), offset, 4, 4, int))


def u64(offset: int | None = None) -> int:
    """Eight bytes. On IA-32 the Microsoft ABI that UEFI follows aligns them to 8 as well."""
    return cast(int, _Field(lambda make, _: make.number(8), offset, 8, 8, int))


def pointer() -> int:
    """A pointer, a handle, a UINTN or anything else that has the machine's width."""
    return cast(int, _Field(lambda make, width: make.number(width), None, 0, 0, int))


def be32(offset: int) -> int:
    """Four bytes, the most significant first."""
    return cast(int, _Field(lambda make, _: make.be32(), offset, 4, 4, int))


def text32(offset: int) -> int:
    """A four-byte magic number that is shown as letters."""
    return cast(int, _Field(lambda make, _: make.text32(), offset, 4, 4, int))


def array(offset: int, size: int) -> bytes:
    """A byte array without inner structure; a shorter value is stored with zeroes behind it."""
    return cast(bytes, _Field(lambda make, _: make.array(size), offset, size, 1, lambda: bytes(size)))


def guid() -> bytes:
    """An EFI_GUID, which C aligns as the UINT32 that it begins with."""
    return cast(bytes, _Field(lambda make, _: make.array(16), None, 16, 4, lambda: bytes(16)))


def counted(offset: int, size: int) -> bytes:
    """The bytes of a table whose count another field holds: no leaves, since only so many of its rows mean anything."""
    return cast(bytes, _Field(lambda make, _: make.unlisted(size), offset, size, 1, lambda: bytes(size)))


def numbers(offset: int, size: int, count: int) -> list[int]:
    """An array of unsigned integers of `size` bytes."""
    field = _Field(lambda make, _: make.many(count, make.number(size)), offset, size * count, size, lambda: [0] * count)
    return cast(list[int], field)


T = TypeVar("T", bound="Layout")


def part(offset: int, layout: type[T]) -> T:
    """A structure inside a structure."""
    return cast(T, _Field(lambda _, width: layout._reader(width), offset, layout.SIZE, 1, layout))


def parts(offset: int, layout: type[T], count: int) -> list[T]:
    """An array of structures."""

    def reader(make: ModuleType, width: int) -> Any:
        return make.many(count, layout._reader(width))

    return cast(list[T], _Field(reader, offset, layout.SIZE * count, 1, lambda: [layout() for _ in range(count)]))


@dataclass_transform(kw_only_default=True)
class Layout:
    """Base of every structure. `SIZE` is in bytes; `ORIGIN` is the offset that the specification gives to its start
    (boot.rst counts the setup header from 0x1f1, because that is where it lies in the image).

    An object is a value: what is assigned to its fields reaches no memory before `build`. Bytes between the fields are
    kept from `parse` to `build`. Only structures whose fields have offsets have a SIZE; `sizeof` knows it of all. Those of
    UEFI have a NAME, which is the specification's.
    """

    SIZE: ClassVar[int]
    ORIGIN: ClassVar[int] = 0
    NAME: ClassVar[str]
    _fields: ClassVar[dict[str, _Field]] = {}
    _sizes: ClassVar[dict[int, int]]
    _readers: ClassVar[dict[int, Any]]
    _leaves: ClassVar[dict[int, tuple[Leaf, ...]]]

    def __init_subclass__(cls) -> None:
        """Raises TypeError for fields that overlap, stand in another order than their offsets, or do not fit SIZE, and
        where only some have an offset or one has the name of a method.
        """
        own = {name: field for name, field in vars(cls).items() if isinstance(field, _Field)}
        if taken := own.keys() & vars(Layout):
            raise TypeError(f"{cls.__name__}.{min(taken)}: every structure has a {min(taken)} of another kind")
        cls._fields, cls._readers, cls._leaves = {**cls._fields, **own}, {}, {}
        cls._sizes = {width: _places(cls, width)[1] for width in WIDTHS}

    def __init__(self, **values: Any) -> None:
        """A structure of zeroes with some fields set by name. Raises TypeError for a field that it does not have."""
        unknown = values.keys() - self._fields.keys()
        if unknown:
            raise TypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        vars(self).update((name, values[name] if name in values else each.initial()) for name, each in self._fields.items())

    if not TYPE_CHECKING:  # a type checker that sees it would take every name for a field

        def __setattr__(self, name: str, value: object) -> None:
            if name not in self._fields:
                raise AttributeError(f"{type(self).__name__} has no field {name}")
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the fields, those of a base first."""
        return tuple(cls._fields)

    @classmethod
    def struct(cls, width: int = 8) -> Any:
        """What construct reads and writes this structure with."""
        return cls._reader(width).subcon

    @classmethod
    def _reader(cls, width: int) -> Any:
        if width not in cls._readers:
            places, size = _places(cls, width)
            make = _structs()
            fields = [(n, at, f.reader(make, width)) for at, (n, f) in zip(places, cls._fields.items(), strict=True)]
            cls._readers[width] = make.value(cls, fields, size)
        return cls._readers[width]

    @classmethod
    def sizeof(cls, width: int = 8) -> int:
        """Bytes, including the padding at the end."""
        return cls._sizes[width]

    @classmethod
    def parse(cls, data: Buffer, width: int = 8) -> Self:
        """The structure at the start of `data`. Raises ValueError when that is shorter."""
        if len(data) < cls.sizeof(width):
            raise ValueError(f"{cls.__name__} needs {cls.sizeof(width)} bytes, there are {len(data)}")
        return cast(Self, cls._reader(width).parse(data))

    @classmethod
    def rows(cls, data: Buffer, step: int = 0, width: int = 8) -> list[Self]:
        """An array of the structure, each `step` bytes behind the one before (0: as long as it is). What is too short for one
        at the end is left.
        """
        size = cls.sizeof(width)
        return [cls.parse(data[at : at + size], width) for at in range(0, len(data) - size + 1, step or size)]

    def build(self, width: int = 8) -> bytes:
        """The bytes. Raises ValueError for a value that does not fit its field."""
        return cast(bytes, _structs().build(type(self)._reader(width), self))

    def values(self, width: int = 8) -> dict[str, int | str]:
        """Every leaf under its full name, in the order of the structure, as records carry it (see Leaf.show)."""
        raw = self.build(width)
        return {leaf.name: leaf.show(raw) for leaf in self.leaves(width)}

    @classmethod
    def leaves(cls, width: int = 8) -> tuple[Leaf, ...]:
        """All leaves in the order of their offsets."""
        if width not in cls._leaves:
            cls._leaves[width] = tuple(Leaf(*leaf) for leaf in _structs().leaves(cls._reader(width)))
        return cls._leaves[width]

    @classmethod
    def leaf(cls, name: str, width: int = 8) -> Leaf:
        """The leaf with this full name. Raises KeyError without one."""
        found = next((leaf for leaf in cls.leaves(width) if leaf.name == name), None)
        if found is None:
            raise KeyError(f"{cls.__name__} has no {name}")
        return found

    @classmethod
    def leaf_at(cls, offset: int, width: int = 8) -> Leaf | None:
        """The leaf that holds the byte at `offset`, None for bytes that the structure leaves unnamed."""
        return next((leaf for leaf in cls.leaves(width) if leaf.offset <= offset < leaf.offset + leaf.size), None)


def _structs() -> ModuleType:
    """construct takes 20 ms to import, and declarations are read by whoever only lists providers."""
    return importlib.import_module("efishim.wire.structs")


def _places(layout: type[Layout], width: int) -> tuple[list[int], int]:
    """Where each field begins, and the size of the whole. Raises TypeError for a declaration that cannot be."""
    places: list[int] = []
    end, widest = 0, 1
    for name, field in layout._fields.items():
        if (field.offset is None) == hasattr(layout, "SIZE"):
            raise TypeError(f"{layout.__name__}.{name}: either all fields have offsets, and there is a SIZE, or none has")
        align = field.align or width
        start = -(-end // align) * align if field.offset is None else field.offset - layout.ORIGIN
        if start < end:
            raise TypeError(f"{layout.__name__}.{name} begins at {start:#x}, where the fields before it end at {end:#x}")
        places.append(start)
        end, widest = start + (field.size or width), max(widest, align)
    size = getattr(layout, "SIZE", -(-end // widest) * widest)
    if size < end:
        raise TypeError(f"the fields of {layout.__name__} end at {end:#x}, outside its {size} bytes")
    return places, size
