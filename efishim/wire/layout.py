"""Structures declared field by field at the offsets their specification gives, seen through the bytes themselves.

A layout is a class of descriptors over one memoryview: reading decodes, assigning encodes, and the bytes stay where
they are. That keeps three things in one place: what producers write, what consumers read back, and which field an
address belongs to. All numbers are little-endian, as everything in x86 boot protocols is. Why neither construct nor
ctypes: docs/adr/0005-wire-layouts.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar, overload

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Leaf:
    """One field with no structure below it, under its full name (`hdr.setup_sects`, `e820_table[3].addr`).

    `offset` is in bytes from the start of the outermost structure. `form` is `number`, `text` (a magic number that
    people write as letters) or `bytes`.
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
        if self.form == "bytes":
            return raw.rstrip(b"\0").hex()
        if not any(raw):
            return ""
        if all(0x20 < byte < 0x7F for byte in raw):
            return raw.decode("ascii")
        return f"{int.from_bytes(raw, 'little'):#x}"


class Field:
    """What all descriptors share: a name, a place, and the leaves below it."""

    def __init__(self, offset: int, size: int) -> None:
        self.offset = offset
        self.size = size
        self.name = ""

    def __set_name__(self, owner: type[Layout], name: str) -> None:
        self.name = name
        self.offset -= owner.ORIGIN
        if self.offset < 0 or self.offset + self.size > owner.SIZE:
            raise TypeError(f"{owner.__name__}.{name} lies outside the {owner.SIZE} bytes of its structure")

    def leaves(self) -> Iterator[Leaf]:
        """The leaves of this field, offsets relative to the structure that holds it."""
        yield Leaf(self.name, self.offset, self.size, "number")


class Number(Field):
    """An unsigned integer of 1, 2, 4 or 8 bytes."""

    def __init__(self, offset: int, size: int, *, text: bool = False) -> None:
        super().__init__(offset, size)
        self.text = text

    @overload
    def __get__(self, layout: None, owner: type[Layout]) -> Number: ...
    @overload
    def __get__(self, layout: Layout, owner: type[Layout]) -> int: ...
    def __get__(self, layout: Layout | None, owner: type[Layout]) -> Number | int:
        if layout is None:
            return self
        return int.from_bytes(layout.raw[self.offset : self.offset + self.size], "little")

    def __set__(self, layout: Layout, value: int) -> None:
        try:
            layout.raw[self.offset : self.offset + self.size] = value.to_bytes(self.size, "little")
        except OverflowError:
            raise ValueError(f"{value:#x} does not fit the {self.size * 8} bits of {self.name}") from None

    def leaves(self) -> Iterator[Leaf]:
        """One leaf: the number itself."""
        yield Leaf(self.name, self.offset, self.size, "text" if self.text else "number")


class Numbers(Field):
    """An array of unsigned integers."""

    def __init__(self, offset: int, size: int, count: int) -> None:
        super().__init__(offset, size * count)
        self.item = size
        self.count = count

    @overload
    def __get__(self, layout: None, owner: type[Layout]) -> Numbers: ...
    @overload
    def __get__(self, layout: Layout, owner: type[Layout]) -> tuple[int, ...]: ...
    def __get__(self, layout: Layout | None, owner: type[Layout]) -> Numbers | tuple[int, ...]:
        if layout is None:
            return self
        places = range(self.offset, self.offset + self.size, self.item)
        return tuple(int.from_bytes(layout.raw[at : at + self.item], "little") for at in places)

    def __set__(self, layout: Layout, values: Sequence[int]) -> None:
        if len(values) != self.count:
            raise ValueError(f"{self.name} holds {self.count} numbers, not {len(values)}")
        layout.raw[self.offset : self.offset + self.size] = b"".join(v.to_bytes(self.item, "little") for v in values)

    def leaves(self) -> Iterator[Leaf]:
        """One leaf per number."""
        for index in range(self.count):
            yield Leaf(f"{self.name}[{index}]", self.offset + index * self.item, self.item, "number")


class Bytes(Field):
    """A byte array without inner structure; a shorter value is stored with zeroes behind it."""

    @overload
    def __get__(self, layout: None, owner: type[Layout]) -> Bytes: ...
    @overload
    def __get__(self, layout: Layout, owner: type[Layout]) -> bytes: ...
    def __get__(self, layout: Layout | None, owner: type[Layout]) -> Bytes | bytes:
        if layout is None:
            return self
        return bytes(layout.raw[self.offset : self.offset + self.size])

    def __set__(self, layout: Layout, value: bytes) -> None:
        if len(value) > self.size:
            raise ValueError(f"{len(value)} bytes do not fit the {self.size} of {self.name}")
        layout.raw[self.offset : self.offset + self.size] = value.ljust(self.size, b"\0")

    def leaves(self) -> Iterator[Leaf]:
        """One leaf: the whole array."""
        yield Leaf(self.name, self.offset, self.size, "bytes")


class Layout:
    """Base of every structure. `SIZE` is in bytes; `ORIGIN` is the offset that the specification gives to its start
    (boot.rst counts the setup header from 0x1f1, because that is where it lies in the image).
    """

    SIZE: ClassVar[int]
    ORIGIN: ClassVar[int] = 0

    def __init__(self, data: Buffer | None = None) -> None:
        """See `data` (at least SIZE bytes, kept by reference) as this structure; without it, fresh zeroes.

        Raises ValueError when `data` is shorter. Assigning to fields of read-only bytes raises TypeError.
        """
        view = memoryview(bytearray(self.SIZE) if data is None else data)
        if len(view) < self.SIZE:
            raise ValueError(f"{type(self).__name__} needs {self.SIZE} bytes, there are {len(view)}")
        self.raw = view[: self.SIZE]

    @classmethod
    def make(cls, **values: int | bytes) -> Self:
        """A structure of zeroes with some fields set by name. Raises AttributeError for a field that it does not have."""
        layout = cls()
        for name, value in values.items():
            getattr(cls, name)
            setattr(layout, name, value)
        return layout

    def __bytes__(self) -> bytes:
        return bytes(self.raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.values()})"

    def values(self) -> dict[str, int | str]:
        """Every leaf under its full name, in the order of the structure, as records carry it (see Leaf.show)."""
        return {leaf.name: leaf.show(self.raw) for leaf in self.leaves()}

    @classmethod
    def leaves(cls) -> tuple[Leaf, ...]:
        """All leaves in the order of their offsets."""
        fields = [field for klass in cls.__mro__ for field in vars(klass).values() if isinstance(field, Field)]
        return tuple(leaf for field in sorted(fields, key=lambda f: f.offset) for leaf in field.leaves())

    @classmethod
    def leaf_at(cls, offset: int) -> Leaf | None:
        """The leaf that holds the byte at `offset`, None for bytes that the structure leaves unnamed."""
        return next((leaf for leaf in cls.leaves() if leaf.offset <= offset < leaf.offset + leaf.size), None)


T = TypeVar("T", bound=Layout)


class Part(Field, Generic[T]):
    """A structure inside a structure. Reading gives a view of it: assigning to its fields writes through."""

    def __init__(self, offset: int, layout: type[T]) -> None:
        super().__init__(offset, layout.SIZE)
        self.layout = layout

    @overload
    def __get__(self, layout: None, owner: type[Layout]) -> Part[T]: ...
    @overload
    def __get__(self, layout: Layout, owner: type[Layout]) -> T: ...
    def __get__(self, layout: Layout | None, owner: type[Layout]) -> Part[T] | T:
        if layout is None:
            return self
        return self.layout(layout.raw[self.offset : self.offset + self.size])

    def leaves(self) -> Iterator[Leaf]:
        """The leaves of the inner structure, their names behind this one's and a dot."""
        for leaf in self.layout.leaves():
            yield Leaf(f"{self.name}.{leaf.name}", self.offset + leaf.offset, leaf.size, leaf.form)


class Parts(Field, Generic[T]):
    """An array of structures."""

    def __init__(self, offset: int, layout: type[T], count: int) -> None:
        super().__init__(offset, layout.SIZE * count)
        self.layout = layout
        self.count = count

    @overload
    def __get__(self, layout: None, owner: type[Layout]) -> Parts[T]: ...
    @overload
    def __get__(self, layout: Layout, owner: type[Layout]) -> list[T]: ...
    def __get__(self, layout: Layout | None, owner: type[Layout]) -> Parts[T] | list[T]:
        if layout is None:
            return self
        step = self.layout.SIZE
        return [self.layout(layout.raw[at : at + step]) for at in range(self.offset, self.offset + self.size, step)]

    def leaves(self) -> Iterator[Leaf]:
        """The leaves of every item."""
        inner = self.layout.leaves()
        for index in range(self.count):
            at = self.offset + index * self.layout.SIZE
            for leaf in inner:
                yield Leaf(f"{self.name}[{index}].{leaf.name}", at + leaf.offset, leaf.size, leaf.form)


def u8(offset: int) -> Number:
    """One byte."""
    return Number(offset, 1)


def u16(offset: int) -> Number:
    """Two bytes."""
    return Number(offset, 2)


def u32(offset: int) -> Number:
    """Four bytes."""
    return Number(offset, 4)


def u64(offset: int) -> Number:
    """Eight bytes."""
    return Number(offset, 8)


def text32(offset: int) -> Number:
    """A four-byte magic number that is shown as letters."""
    return Number(offset, 4, text=True)
