"""The layout classes: every kind of field against bytes written with struct."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.wire.layout import Layout, array, be32, counted, guid, numbers, part, parts, pointer, text32, u8, u16, u32, u64

ROOT = Path(__file__).parents[2]


class Point(Layout):
    SIZE = 4

    x: int = u16(0)
    y: int = u16(2)


class Everything(Layout):
    SIZE = 52
    ORIGIN = 0x100

    a: int = u8(0x100)
    b: int = u32(0x102)
    c: int = u64(0x106)
    magic: int = text32(0x10E)
    words: list[int] = numbers(0x112, 2, 3)
    text: bytes = array(0x118, 4)
    point: Point = part(0x11C, Point)
    path: list[Point] = parts(0x120, Point, 3)
    table: bytes = counted(0x12E, 4)


class Longer(Point):
    SIZE = 6

    z: int = u16(4)


class Wide(Layout):
    kind: int = u32()
    handle: int = pointer()
    size: int = u64()
    who: bytes = guid()
    flag: int = u8()


RAW = struct.pack("<BxIQ4s3H4s2H6H2x4s2x", 1, 2, 3, b"HdrS", 4, 5, 6, b"ab", 7, 8, 9, 10, 11, 12, 13, 14, b"rows")


def test_parse_decodes_at_the_declared_places() -> None:
    one = Everything.parse(RAW)
    assert (one.a, one.b, one.c, one.magic) == (1, 2, 3, 0x53726448)
    assert (one.words, one.text, one.table) == ([4, 5, 6], b"ab\0\0", b"rows")
    assert (one.point.x, one.point.y) == (7, 8)
    assert [(p.x, p.y) for p in one.path] == [(9, 10), (11, 12), (13, 14)]


def test_build_gives_the_same_bytes() -> None:
    one = Everything(a=1, b=2, c=3, magic=0x53726448, words=[4, 5, 6], text=b"ab", point=Point(x=7, y=8), table=b"rows")
    for number, point in enumerate(one.path):
        point.x, point.y = 9 + 2 * number, 10 + 2 * number
    assert one.build() == RAW


@given(st.binary(min_size=Everything.SIZE, max_size=Everything.SIZE))
def test_what_no_field_covers_is_kept(raw: bytes) -> None:
    assert Everything.parse(raw).build() == raw


def test_a_value_reaches_no_memory() -> None:
    buffer = bytearray(RAW)
    one = Everything.parse(memoryview(buffer))
    one.point.y = 0x1234
    assert buffer == RAW
    assert one.build() == RAW[:0x1E] + b"\x34\x12" + RAW[0x20:]


def test_no_two_objects_share_what_is_in_them() -> None:
    one, other = Everything(), Everything()
    one.point.x, one.path[0].y, one.words[0] = 1, 2, 3
    assert not any(other.build())


def test_records_show_numbers_magics_and_bytes() -> None:
    values = Everything.parse(RAW).values()
    assert values["b"] == 2
    assert values["magic"] == "HdrS"
    assert values["text"] == b"ab".hex()
    assert values["words[2]"] == 6
    assert values["path[1].y"] == 12
    assert list(values)[:4] == ["a", "b", "c", "magic"]
    assert "table" not in values


@pytest.mark.parametrize(("raw", "shown"), [(b"\0\0\0\0", ""), (b"A\0\0\0", "0x41"), (b"\xff\xfe\x01\x80", "0x8001feff")])
def test_a_magic_that_is_no_text_is_shown_as_a_number(raw: bytes, shown: str) -> None:
    assert Everything.parse(RAW[:14] + raw + RAW[18:]).values()["magic"] == shown


def test_the_owner_of_a_byte() -> None:
    leaf = Everything.leaf_at(37)
    assert leaf is not None
    assert leaf.name == "path[1].x"
    assert Everything.leaf_at(1) is None
    assert Everything.leaf_at(0x2E) is None
    assert Everything.leaf("point.y").offset == 0x1E
    with pytest.raises(KeyError, match=r"point\.z"):
        Everything.leaf("point.z")


def test_inherited_fields_count() -> None:
    assert [leaf.name for leaf in Longer.leaves()] == ["x", "y", "z"]
    assert Longer.parse(struct.pack("<3H", 1, 2, 3)).z == 3


@pytest.mark.parametrize(("width", "form"), [(4, "<II Q 16s B7x"), (8, "<I4xQ Q 16s B7x")], ids=["IA-32", "x64"])
def test_without_offsets_fields_lie_where_c_puts_them(width: int, form: str) -> None:
    raw = struct.pack(form, 1, 2, 3, b"0123456789abcdef", 4)
    one = Wide.parse(raw, width)
    assert (one.kind, one.handle, one.size, one.who, one.flag) == (1, 2, 3, b"0123456789abcdef", 4)
    assert one.build(width) == raw
    assert Wide.sizeof(width) == len(raw)
    assert Wide.leaf("handle", width).size == width


def test_a_value_of_one_width_has_a_form_in_the_other() -> None:
    assert Wide(handle=7).build(4)[4:8] == Wide.parse(Wide(handle=7).build()).build()[8:12] == b"\7\0\0\0"


class Again(Point):
    SIZE = 8

    x_: int = u16(4)
    build_: int = u16(6)


def test_a_name_that_is_taken_ends_in_an_underscore_which_its_leaf_does_not_have() -> None:
    assert [(leaf.name, leaf.offset) for leaf in Again.leaves()] == [("x", 0), ("y", 2), ("x", 4), ("build", 6)]
    assert Again(x=1, x_=2, build_=3).build() == struct.pack("<4H", 1, 0, 2, 3)


class Foreign(Layout):
    SIZE = 4

    number: int = be32(0)


def test_a_number_may_have_its_most_significant_byte_first() -> None:
    raw = bytes.fromhex("d00dfeed")
    assert Foreign.parse(raw).number == Foreign.parse(raw).values()["number"] == 0xD00DFEED
    assert Foreign(number=0xD00DFEED).build() == raw
    assert Foreign.leaf("number").form == "big-endian"


def test_an_array_of_structures() -> None:
    raw = struct.pack("<2HI2HI2H", 1, 2, 0, 3, 4, 0, 5, 6)
    assert [(one.x, one.y) for one in Point.rows(raw, 8)] == [(1, 2), (3, 4), (5, 6)]
    assert [one.y for one in Point.rows(raw[:11])] == [2, 0]
    assert Point.rows(b"") == []
    assert [one.handle for one in Wide.rows(Wide(handle=1).build(4) * 2, width=4)] == [1, 1]


def test_too_few_bytes_and_too_large_values_are_refused() -> None:
    with pytest.raises(ValueError, match="Everything needs 52 bytes, there are 45"):
        Everything.parse(RAW[:45])
    with pytest.raises(ValueError, match=r"Everything\.a: .* 256"):
        Everything(a=256).build()
    with pytest.raises(ValueError, match=r"Everything\.point\.x: .* -1"):
        Everything(point=Point(x=-1)).build()
    with pytest.raises(ValueError, match=r"Everything\.text: .* expected 4, found 5"):
        Everything(text=b"12345").build()
    with pytest.raises(ValueError, match=r"Everything\.words: "):
        Everything(words=[1, 2]).build()
    with pytest.raises(ValueError, match=r"Wide\.handle: "):
        Wide(handle=1 << 32).build(4)


def test_a_field_that_does_not_exist_is_refused() -> None:
    layout: type[Layout] = Point
    with pytest.raises(TypeError, match="Point has no field z"):
        layout(z=1)
    with pytest.raises(AttributeError, match="Point has no field z"):
        setattr(Point(), "z", 1)  # noqa: B010 # as a statement it would be an error of the type checker


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"SIZE": 2, "x": u32(0)}, "end at 0x4, outside its 2 bytes"),
        ({"SIZE": 8, "x": u32(0), "y": u16(3)}, r"Bad\.y begins at 0x3, where the fields before it end at 0x4"),
        ({"SIZE": 8, "x": u16(4), "y": u16(0)}, r"Bad\.y begins at 0x0"),
        ({"SIZE": 8, "ORIGIN": 4, "x": u16(0)}, r"Bad\.x begins at -0x4"),
        ({"SIZE": 8, "x": u16(0), "y": u16()}, r"Bad\.y: either all fields have offsets"),
        ({"x": u16(0)}, r"Bad\.x: either all fields have offsets"),
        ({"SIZE": 2, "build": u16(0)}, r"Bad\.build: every structure has a build of another kind"),
    ],
    ids=["overlong", "overlapping", "disordered", "before the start", "one without offset", "no size", "a name that is taken"],
)
def test_a_declaration_that_cannot_be_is_a_type_error_at_import(fields: dict[str, object], why: str) -> None:
    with pytest.raises(TypeError, match=why):
        type("Bad", (Layout,), fields)


SNIPPET = """
from efishim.wire.bootparams import BootParams, E820Entry
params = BootParams.parse(bytes(4096))
entry = E820Entry(addr=1, size=2)
reveal_type(params.hdr.cmd_line_ptr)
params.hdr.cmd_line_pointer = 1
print(params.hdr.cmd_lin_ptr)
E820Entry(adr=1)
E820Entry(addr=b"")
"""


def test_a_misspelt_field_is_an_error_of_the_type_checker(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(SNIPPET)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", str(snippet)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    told = {int(line.split(":")[1]): line for line in found.splitlines() if ": error:" in line}
    assert set(told) == {6, 7, 8, 9}, found
    assert '"SetupHeader" has no attribute "cmd_line_pointer"' in told[6]
    assert '"SetupHeader" has no attribute "cmd_lin_ptr"' in told[7]
    assert 'Unexpected keyword argument "adr"' in told[8]
    assert 'Argument "addr" to "E820Entry" has incompatible type "bytes"' in told[9]
    assert 'Revealed type is "int"' in found or 'Revealed type is "builtins.int"' in found
