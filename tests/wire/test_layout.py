"""The layout classes: every kind of field against bytes written with struct."""

from __future__ import annotations

import struct

import pytest

from efishim.wire.layout import Bytes, Layout, Numbers, Part, Parts, text32, u8, u16, u32, u64


class Point(Layout):
    SIZE = 4
    x = u16(0)
    y = u16(2)


class Everything(Layout):
    SIZE = 46
    a = u8(0)
    b = u32(2)
    c = u64(6)
    magic = text32(14)
    array = Numbers(18, 2, 3)
    text = Bytes(24, 4)
    point = Part(28, Point)
    path = Parts(32, Point, 3)


class Longer(Point):
    SIZE = 6
    z = u16(4)


RAW = struct.pack("<BxIQ4s3H4s2H6Hxx", 1, 2, 3, b"HdrS", 4, 5, 6, b"ab", 7, 8, 9, 10, 11, 12, 13, 14)


def test_reading_decodes_at_the_declared_places() -> None:
    view = Everything(RAW)
    assert (view.a, view.b, view.c, view.magic) == (1, 2, 3, 0x53726448)
    assert (view.array, view.text) == ((4, 5, 6), b"ab\0\0")
    assert (view.point.x, view.point.y) == (7, 8)
    assert [(p.x, p.y) for p in view.path] == [(9, 10), (11, 12), (13, 14)]


def test_writing_gives_the_same_bytes() -> None:
    view = Everything()
    view.a, view.b, view.c, view.magic = 1, 2, 3, 0x53726448
    view.array = (4, 5, 6)
    view.text = b"ab"
    view.point.x, view.point.y = 7, 8
    for number, point in enumerate(view.path):
        point.x, point.y = 9 + 2 * number, 10 + 2 * number
    assert bytes(view) == RAW


def test_a_view_writes_through_to_its_buffer() -> None:
    buffer = bytearray(50)
    Everything(memoryview(buffer)[4:]).point.y = 0x1234
    assert buffer[34:36] == b"\x34\x12"


def test_records_show_numbers_magics_and_bytes() -> None:
    values = Everything(RAW).values()
    assert values["b"] == 2
    assert values["magic"] == "HdrS"
    assert values["text"] == b"ab".hex()
    assert values["array[2]"] == 6
    assert values["path[1].y"] == 12
    assert list(values)[:4] == ["a", "b", "c", "magic"]


@pytest.mark.parametrize(("raw", "shown"), [(b"\0\0\0\0", ""), (b"A\0\0\0", "0x41"), (b"\xff\xfe\x01\x80", "0x8001feff")])
def test_a_magic_that_is_no_text_is_shown_as_a_number(raw: bytes, shown: str) -> None:
    view = Everything(RAW[:14] + raw + RAW[18:])
    assert view.values()["magic"] == shown


def test_the_owner_of_a_byte() -> None:
    leaf = Everything.leaf_at(37)
    assert leaf is not None
    assert leaf.name == "path[1].x"
    assert Everything.leaf_at(1) is None


def test_inherited_fields_count() -> None:
    assert [leaf.name for leaf in Longer.leaves()] == ["x", "y", "z"]
    assert Longer(struct.pack("<3H", 1, 2, 3)).z == 3


def test_too_few_bytes_and_too_large_values_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 46 bytes, there are 45"):
        Everything(RAW[:45])
    view = Everything()
    with pytest.raises(ValueError, match="does not fit the 8 bits of a"):
        view.a = 256
    with pytest.raises(ValueError, match="do not fit the 4 of text"):
        view.text = b"12345"
    with pytest.raises(ValueError, match="holds 3 numbers"):
        view.array = (1, 2)
    with pytest.raises(TypeError):
        Everything(RAW).a = 2


def test_a_field_outside_its_structure_is_a_mistake_of_the_declaration() -> None:
    with pytest.raises((TypeError, RuntimeError)):
        type("Bad", (Layout,), {"SIZE": 2, "x": u32(0)})
