"""The document behind `inspect`, on an image that the test builds from the specifications."""

from __future__ import annotations

import json
import struct

import pytest
from efishim_plugins.firmware.provider import Firmware

from efishim.image.opened import open_image
from efishim.report.image import describe, note_text, routes


def small_elf(*, note: int | None = None) -> bytes:
    """An ELF64 for x86-64 with one segment and, if asked, Xen's PVH note (type 18) pointing to `note`."""
    notes = b"" if note is None else struct.pack("<III4sI", 4, 4, 18, b"Xen\0", note)
    count = 1 if note is None else 2
    body = 64 + 56 * count
    header = struct.pack(
        "<4sBBBB8xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1, 0, 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, count, 64, 0, 0),
    )
    load = struct.pack("<IIQQQQQQ", 1, 5, body + len(notes), 0x100000, 0x100000, 16, 0x2000, 0x1000)
    table = load if note is None else load + struct.pack("<IIQQQQQQ", 4, 4, body, 0, 0, len(notes), len(notes), 4)
    return header + table + notes + b"\xf4" * 16


def test_an_elf_with_a_pvh_note() -> None:
    document = describe(open_image(small_elf(note=0x100010), path="kernel"), [Firmware()])
    assert document["formats"] == ["elf"]
    doors = {one["entry"]: one for one in document["entries"]}
    assert doors["pvh"]["applies"]
    assert "0x100010" in doors["pvh"]["where"]
    assert document["kernel"]["entry"] == "0x100000"
    assert document["kernel"]["load"] == {"start": "0x100000", "end": "0x102000"}
    assert [note["data"] for note in document["kernel"]["notes"]] == ["0x100010"]
    assert document["linux"] is None
    json.dumps(document)


def test_a_route_that_does_not_apply_has_a_reason() -> None:
    image = open_image(small_elf(), path="kernel")
    found = {route["route"]: route for route in routes(image, image.doors, [Firmware()])}
    assert found.keys() == {f"firmware/{entry.name}" for entry in Firmware().entries}
    assert not any(route["applies"] for route in found.values())
    assert "PE" in found["firmware/efi"]["reason"]
    assert "Linux" in found["firmware/efi-handover"]["reason"]


def test_every_entry_either_applies_or_says_why_not() -> None:
    for one in describe(open_image(small_elf(), path="kernel"), [])["entries"]:
        assert one["applies"] == bool(one["where"])
        assert one["applies"] != bool(one["reason"])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"linux\0", '"linux"'),
        (b"\0\0\0\x80\xff\xff\xff\xff", "0xffffffff80000000"),
        (b"\1\0\0\0", "0x1"),
        (b"\xff" * 20, "ff" * 20),
        (b"\xff" * 40, "ff" * 32 + "..."),
        (b"", ""),
    ],
)
def test_notes_are_shown_as_what_they_are(data: bytes, text: str) -> None:
    assert note_text(data) == text
