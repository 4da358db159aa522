"""GUIDs and their names."""

from __future__ import annotations

import re
from types import SimpleNamespace

from efishim.wire import guids

GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def nameless(module: object) -> list[str]:
    """Constants that hold a GUID which `guid_name` does not know."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, str) and GUID.fullmatch(value) and guids.NAMES.get(value) != name
    ]


def test_each_constant_is_known_by_its_name() -> None:
    """Logs show the name, and `--without protocol:NAME` takes it."""
    assert nameless(guids) == []


def test_one_that_is_not_is_found() -> None:
    assert nameless(SimpleNamespace(MINE="00000000-0000-0000-0000-00000000abcd", WORD="x")) == ["MINE"]


def test_bytes_and_text() -> None:
    """UEFI 2.10, appendix A: three numbers in little-endian order, then bytes."""
    data = bytes(range(16))
    assert guids.guid_bytes(guids.guid_text(data)) == data
    assert guids.guid_bytes("00112233-4455-6677-8899-aabbccddeeff") == bytes.fromhex("33221100554477668899aabbccddeeff")
